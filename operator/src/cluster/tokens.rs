//! Who a node is: the projected ServiceAccount token that its agent or proxy shows, judged by the API server
//! (TokenReview). The node's name comes from the token, not from what the caller says, so a stolen token gets the tables
//! of its own node and no other's.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};

use weft_access::reason;

/// Audience that tokens are made for (`audience:` of the projected volume).
pub const AUDIENCE: &str = "weft";
/// Where the API server says on which node the token's pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Limit of one review; a node waits for it before its Hello.
const REVIEW: Duration = Duration::from_secs(3);
/// Longest token that is looked at, bytes; real ones have about a thousand.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has shown nothing that the API server believes.
    #[error("{0}")]
    Unknown(String),
    /// It is somebody, but nobody who gets tables.
    #[error("{0}")]
    Forbidden(String),
    /// The API server cannot be asked.
    #[error("{0}")]
    Unavailable(String),
}

/// Judges tokens.
#[derive(Clone)]
pub struct Tokens {
    api: Api<TokenReview>,
    /// Usernames that get tables: `system:serviceaccount:NAMESPACE:NAME`.
    accounts: Vec<String>,
}

impl Tokens {
    /// Lets in these service accounts of one namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, accounts: &[String]) -> Self {
        let accounts = accounts.iter();
        Self {
            api: Api::all(client),
            accounts: accounts
                .map(|name| format!("system:serviceaccount:{namespace}:{name}"))
                .collect(),
        }
    }

    /// The node on which the token's owner runs.
    ///
    /// # Errors
    /// When the token is missing, wrong, or the owner's is no account of ours.
    pub async fn node(&self, token: Option<&str>) -> Result<String, Refused> {
        let Some(token) = token.filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
        else {
            let text = "no token; mount a projected ServiceAccount token with audience weft and give --token-file";
            return Err(Refused::Unknown(text.to_owned()));
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let parameters = PostParams::default();
        let asked = self.api.create(&parameters, &review);
        let answer = tokio::time::timeout(REVIEW, asked)
            .await
            .map_err(|_| Refused::Unavailable("the API server does not answer".to_owned()))?
            .map_err(|error| Refused::Unavailable(format!("TokenReview: {}", reason(&error))))?;
        judge(&answer.status.unwrap_or_default(), &self.accounts)
    }
}

/// What a review means.
fn judge(status: &TokenReviewStatus, accounts: &[String]) -> Result<String, Refused> {
    // An authenticator that does not know audiences answers without any: then the token was not checked for ours.
    let ours = status
        .audiences
        .as_ref()
        .is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE));
    if status.authenticated != Some(true) || !ours {
        let why = status
            .error
            .as_deref()
            .unwrap_or("wrong or expired, or not for audience weft");
        return Err(Refused::Unknown(format!(
            "the token is not accepted: {why}"
        )));
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    if !accounts.contains(&name) {
        let text = format!(
            "{name} gets no tables; agent and proxy run as one of: {}",
            accounts.join(", ")
        );
        return Err(Refused::Forbidden(text));
    }
    let node = user
        .extra
        .and_then(|mut extra| extra.remove(NODE_NAME))
        .and_then(|values| values.into_iter().next());
    node.filter(|node| !node.is_empty()).ok_or_else(|| {
        let text =
            "the token names no node; use a projected token of a pod (Kubernetes 1.30 or later)";
        Refused::Forbidden(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(change: impl FnOnce(&mut TokenReviewStatus)) -> TokenReviewStatus {
        let mut status = TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![AUDIENCE.to_owned()]),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:weft-system:weft-proxy".to_owned()),
                extra: Some([(NODE_NAME.to_owned(), vec!["node1".to_owned()])].into()),
                ..UserInfo::default()
            }),
        };
        change(&mut status);
        status
    }

    #[test]
    fn only_our_accounts_with_our_audience_on_a_node_are_let_in() {
        let accounts = ["system:serviceaccount:weft-system:weft-proxy".to_owned()];
        let judged = |status: &TokenReviewStatus| judge(status, &accounts);
        assert_eq!(judged(&status(|_| {})), Ok("node1".to_owned()));
        for wrong in [
            status(|status| status.authenticated = None),
            status(|status| status.audiences = None),
            status(|status| {
                status.audiences = Some(vec!["https://kubernetes.default.svc".to_owned()])
            }),
        ] {
            assert!(
                matches!(judged(&wrong), Err(Refused::Unknown(_))),
                "{wrong:?}"
            );
        }
        let user = |change: fn(&mut UserInfo)| {
            status(|status| change(status.user.get_or_insert_default()))
        };
        for wrong in [
            user(|user| user.username = Some("system:serviceaccount:shop:weft-proxy".to_owned())),
            user(|user| user.extra = None),
            user(|user| user.extra = Some([(NODE_NAME.to_owned(), Vec::new())].into())),
        ] {
            assert!(
                matches!(judged(&wrong), Err(Refused::Forbidden(_))),
                "{wrong:?}"
            );
        }
    }
}
