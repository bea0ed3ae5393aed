//! Generated protobuf types to plain values and back. Limits are checked here, once, so nothing behind this file meets
//! an unbounded list or text.

use bytes::Bytes;
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::table::Interest;

use super::rpc::proto;
use super::{
    DeltaHeader, DeltaPart, Digest, Hello, MAX_GENERATION, MAX_INTEREST, MAX_TEXT, MAX_TROUBLES,
    NodeKind, NodeMessage, OperatorMessage, PodTrouble, Resume,
};

/// Longest sentence about a pod, bytes: [`MAX_TROUBLES`] of them fit in one message.
const MAX_TROUBLE_TEXT: usize = 256;

/// A message that breaks the contract of table.proto; the text names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) String);

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

impl From<NodeMessage> for proto::NodeMessage {
    fn from(message: NodeMessage) -> Self {
        use proto::node_message::Kind;
        let kind = match message {
            NodeMessage::Hello(hello) => Kind::Hello(hello.into()),
            NodeMessage::Subscribe(interest) => Kind::Subscribe(interest.into()),
            NodeMessage::Ack { generation } => Kind::Ack(proto::Ack { generation }),
            NodeMessage::Nack { generation, reason } => Kind::Nack(proto::Nack {
                generation,
                reason: shorten(reason),
            }),
            NodeMessage::Troubles(pods) => Kind::Troubles(proto::Troubles {
                pods: pods
                    .into_iter()
                    .take(MAX_TROUBLES)
                    .map(Into::into)
                    .collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::NodeMessage> for NodeMessage {
    type Error = Invalid;

    fn try_from(message: proto::NodeMessage) -> Result<Self, Invalid> {
        use proto::node_message::Kind;
        match message.kind {
            Some(Kind::Hello(hello)) => hello.try_into().map(Self::Hello),
            Some(Kind::Subscribe(interest)) => interest.try_into().map(Self::Subscribe),
            Some(Kind::Ack(ack)) => Ok(Self::Ack {
                generation: ack.generation,
            }),
            Some(Kind::Nack(nack)) => Ok(Self::Nack {
                generation: nack.generation,
                reason: shorten(nack.reason),
            }),
            Some(Kind::Troubles(troubles)) if troubles.pods.len() > MAX_TROUBLES => {
                invalid(format!("troubles: more than {MAX_TROUBLES} pods"))
            }
            Some(Kind::Troubles(troubles)) => Ok(Self::Troubles(
                troubles.pods.into_iter().map(Into::into).collect(),
            )),
            None => invalid(
                "a node's message of an unknown kind: the node is newer, upgrade the operator",
            ),
        }
    }
}

impl From<Hello> for proto::Hello {
    fn from(hello: Hello) -> Self {
        let kind = match hello.kind {
            NodeKind::Agent => proto::NodeKind::Agent,
            NodeKind::Proxy => proto::NodeKind::Proxy,
        };
        let resume = hello.resume.map(|resume| proto::Resume {
            generation: resume.generation,
            digest: digest_bytes(resume.digest),
        });
        Self {
            node: hello.node,
            kind: kind.into(),
            version: hello.version,
            schema: hello.schema,
            resume,
            interest: Some(hello.interest.into()),
            seen: hello.seen,
        }
    }
}

impl TryFrom<proto::Hello> for Hello {
    type Error = Invalid;

    fn try_from(hello: proto::Hello) -> Result<Self, Invalid> {
        let kind = match hello.kind() {
            proto::NodeKind::Agent => NodeKind::Agent,
            proto::NodeKind::Proxy => NodeKind::Proxy,
            proto::NodeKind::Unspecified => return invalid("hello.kind: neither agent nor proxy"),
        };
        if hello.node.is_empty() || hello.node.len() > MAX_TEXT {
            return invalid("hello.node: empty or too long; set --node-name");
        }
        let claimed = hello.resume.as_ref().map_or(0, |resume| resume.generation);
        if claimed.max(hello.seen) > MAX_GENERATION {
            return invalid(
                "hello.seen: no operator has ever counted so far; remove the node's state",
            );
        }
        let resume = match hello.resume {
            Some(resume) => Some(Resume {
                generation: resume.generation,
                digest: digest(&resume.digest)?,
            }),
            None => None,
        };
        Ok(Self {
            node: hello.node,
            kind,
            version: shorten(hello.version),
            schema: hello.schema,
            resume,
            interest: hello.interest.unwrap_or_default().try_into()?,
            seen: hello.seen,
        })
    }
}

impl From<PodTrouble> for proto::PodTrouble {
    fn from(trouble: PodTrouble) -> Self {
        Self {
            uid: shorten(trouble.uid),
            reason: shorten(trouble.reason),
            message: shorten_to(trouble.message, MAX_TROUBLE_TEXT),
        }
    }
}

impl From<proto::PodTrouble> for PodTrouble {
    fn from(trouble: proto::PodTrouble) -> Self {
        Self {
            uid: shorten(trouble.uid),
            reason: shorten(trouble.reason),
            message: shorten_to(trouble.message, MAX_TROUBLE_TEXT),
        }
    }
}

impl From<Interest> for proto::Interest {
    fn from(interest: Interest) -> Self {
        Self {
            services: interest.services.into_iter().map(|id| id.0).collect(),
            workloads: interest.workloads.into_iter().map(|id| id.0).collect(),
        }
    }
}

impl TryFrom<proto::Interest> for Interest {
    type Error = Invalid;

    fn try_from(interest: proto::Interest) -> Result<Self, Invalid> {
        if interest.services.len().max(interest.workloads.len()) > MAX_INTEREST {
            return invalid(format!("interest: more than {MAX_INTEREST} ids of a kind"));
        }
        Ok(Self {
            services: interest.services.into_iter().map(ServiceId).collect(),
            workloads: interest.workloads.into_iter().map(WorkloadId).collect(),
        })
    }
}

impl From<OperatorMessage> for proto::OperatorMessage {
    fn from(message: OperatorMessage) -> Self {
        let OperatorMessage::Delta(delta) = message;
        let header = delta.header;
        let delta = proto::Delta {
            generation: header.generation,
            base_generation: header.base.unwrap_or(0),
            reset: header.base.is_none(),
            part: delta.part,
            parts: header.parts,
            digest: digest_bytes(header.digest),
            payload: delta.payload,
        };
        Self {
            kind: Some(proto::operator_message::Kind::Delta(delta)),
        }
    }
}

impl TryFrom<proto::OperatorMessage> for OperatorMessage {
    type Error = Invalid;

    fn try_from(message: proto::OperatorMessage) -> Result<Self, Invalid> {
        let Some(proto::operator_message::Kind::Delta(delta)) = message.kind else {
            return invalid(
                "an operator's message of an unknown kind: the operator is newer, upgrade the node",
            );
        };
        let header = DeltaHeader {
            generation: delta.generation,
            base: (!delta.reset).then_some(delta.base_generation),
            digest: digest(&delta.digest)?,
            parts: delta.parts,
        };
        Ok(Self::Delta(DeltaPart {
            header,
            part: delta.part,
            payload: delta.payload,
        }))
    }
}

fn digest_bytes(digest: Option<Digest>) -> Bytes {
    digest
        .map(|digest| Bytes::copy_from_slice(&digest.0.to_be_bytes()))
        .unwrap_or_default()
}

fn digest(bytes: &Bytes) -> Result<Option<Digest>, Invalid> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match <[u8; 16]>::try_from(bytes.as_ref()) {
        Ok(bytes) => Ok(Some(Digest(u128::from_be_bytes(bytes)))),
        Err(_) => invalid(format!("digest: {} bytes instead of 16", bytes.len())),
    }
}

/// Cuts text for people to [`MAX_TEXT`] bytes.
fn shorten(text: String) -> String {
    shorten_to(text, MAX_TEXT)
}

/// Cuts text to so many bytes, at a character.
fn shorten_to(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
