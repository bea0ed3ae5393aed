//! The typed request target: authority, path and query, made canonical once at the edge. Routing, authorisation and
//! forwarding all read this one value, so no two of them can understand the same bytes differently (RFC 3986, 9110, 9112).
//!
//! The path follows Istio's `BASE` normalisation (Envoy's `normalize_path`): escaped unreserved characters are decoded,
//! the remaining escapes get upper-case digits, `\` counts as `/`, dot segments are removed. `%2F`, `%5C`, repeated and
//! trailing slashes stay as sent. What Envoy repairs and could hide something is refused here: `..` above the root,
//! `%00`, broken escapes, fragments, control bytes, spaces and bytes outside ASCII. The query is checked for bytes that
//! would break the request line and otherwise passed on as sent: a lone `%` there is common and carries no structure.

use http::Method;

use authority::Authority;
pub use authority::MAX_HOST;
use path::canonical_path;

mod authority;
mod path;

/// Why a request target or authority was refused. Each text says what the sender has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// Not a form that RFC 9112 section 3.2 allows for this method.
    #[error("request target has no form that its method allows; send a path that begins with '/'")]
    Form,
    /// An absolute target whose scheme is not `http`.
    #[error("request target has a scheme other than http; send a path that begins with '/'")]
    Scheme,
    /// `user@host` in an authority (RFC 9110 section 4.2.4).
    #[error("authority holds user information; remove all up to the '@'")]
    Userinfo,
    /// Neither a name of letters, digits, `-`, `_` and `.` nor an IP address; or empty, or too long.
    #[error("host is neither a name nor an IP address; IPv6 needs brackets and takes no zone")]
    Host,
    /// The part after the host is not `:` and a number of 1 to 65535 without leading zeros.
    #[error("port is not a number from 1 to 65535")]
    Port,
    /// The target names one authority, `Host` another.
    #[error("authority of the request target differs from the Host header; send the same in both")]
    Mismatch,
    /// A byte that may not stand in a target.
    #[error("request target holds a space, control or non-ASCII byte; percent-encode it")]
    Byte,
    /// `%` in the path without two hexadecimal digits, or `%00`.
    #[error("path holds a broken percent escape or %00; write '%' as %25")]
    Escape,
    /// `#` is never sent to a server (RFC 9110 section 4.2.5).
    #[error("request target holds a fragment; remove all from the '#'")]
    Fragment,
    /// `..` leads above the root.
    #[error("path leads above its root; remove the surplus '..'")]
    AboveRoot,
}

/// Which of the four forms of RFC 9112 section 3.2 the target stands for; absolute-form has become `Origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// A path and perhaps a query.
    Origin,
    /// `host:port` of a CONNECT.
    Authority,
    /// `*` of an OPTIONS to the server as a whole.
    Asterisk,
}

/// Where a request goes: authority, path and query in their canonical form. Its text can always be written into a
/// request line or a Host header as it is: visible ASCII without spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTarget {
    authority: Authority,
    path_and_query: String,
    path_len: usize,
    form: Form,
}

impl RequestTarget {
    /// Reads the target of a request line; `host` is the value of the only `Host` field, if there was one.
    ///
    /// An absolute target must name the authority that `Host` names (a missing port means 80). `CONNECT` takes
    /// `host:port` only, `*` belongs to `OPTIONS` only.
    ///
    /// # Errors
    /// [`TargetError`] for everything that is not one of the four forms, strictly.
    pub fn parse(method: &Method, raw: &[u8], host: Option<&[u8]>) -> Result<Self, TargetError> {
        if method == Method::CONNECT {
            return Self::parse_connect(raw, host);
        }
        match raw.first() {
            Some(b'/') => {
                let authority = host.map(Authority::parse).transpose()?.unwrap_or_default();
                let (path_and_query, path_len) = canonical_path(raw)?;
                Ok(Self {
                    authority,
                    path_and_query,
                    path_len,
                    form: Form::Origin,
                })
            }
            Some(b'*') if raw.len() == 1 && method == Method::OPTIONS => {
                // Only here may Host be empty: the target URI has no authority of its own.
                let authority = match host {
                    None | Some(b"") => Authority::default(),
                    Some(host) => Authority::parse(host)?,
                };
                Ok(Self::asterisk(authority))
            }
            _ => Self::parse_absolute(method, raw, host),
        }
    }

    fn asterisk(authority: Authority) -> Self {
        Self {
            authority,
            path_and_query: "*".to_owned(),
            path_len: 1,
            form: Form::Asterisk,
        }
    }

    fn parse_connect(raw: &[u8], host: Option<&[u8]>) -> Result<Self, TargetError> {
        let authority = Authority::parse(raw)?;
        if authority.port.is_none() {
            return Err(TargetError::Port);
        }
        if let Some(host) = host {
            let host = Authority::parse(host)?;
            // Many clients leave the port out of Host here; the name may not differ.
            if host.host() != authority.host()
                || (host.port.is_some() && host.port != authority.port)
            {
                return Err(TargetError::Mismatch);
            }
        }
        Ok(Self {
            authority,
            path_and_query: String::new(),
            path_len: 0,
            form: Form::Authority,
        })
    }

    fn parse_absolute(
        method: &Method,
        raw: &[u8],
        host: Option<&[u8]>,
    ) -> Result<Self, TargetError> {
        const SCHEME: &[u8] = b"http://";
        let Some((scheme, rest)) = raw.split_at_checked(SCHEME.len()) else {
            return Err(TargetError::Form);
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            let named = raw.windows(3).any(|w| w == b"://");
            return Err(if named {
                TargetError::Scheme
            } else {
                TargetError::Form
            });
        }
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = Authority::parse(authority)?;
        if let Some(host) = host
            && !authority.same_as(&Authority::parse(host)?)
        {
            return Err(TargetError::Mismatch);
        }
        let (path_and_query, path_len) = match path.first() {
            // The last proxy before the server turns it into `*` (RFC 9112 section 3.2.4).
            None if method == Method::OPTIONS => return Ok(Self::asterisk(authority)),
            None => ("/".to_owned(), 1),
            Some(b'?') => canonical_path(&[b"/", path].concat())?,
            Some(_) => canonical_path(path)?,
        };
        Ok(Self {
            authority,
            path_and_query,
            path_len,
            form: Form::Origin,
        })
    }

    /// `host[:port]` as forwarded: lower case, no final dot, the port where one was given. Empty where an HTTP/1.0
    /// request or `OPTIONS *` named none.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority.text
    }

    /// The host without its port; IPv6 in brackets, an IPv4-mapped address as IPv4.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The port, where the sender named one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.authority.port
    }

    /// The scheme that this target was received under; TLS belongs to the mesh and is not seen here.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        "http"
    }

    /// The canonical path; `*` for the asterisk form, empty for CONNECT.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query.get(..self.path_len).unwrap_or_default()
    }

    /// What follows the first `?`, as sent; `Some("")` where nothing follows it.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.get(self.path_len + 1..)
    }

    /// Path and query as forwarded; `*` for the asterisk form, empty for CONNECT.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Whether this is the `host:port` of a CONNECT.
    #[must_use]
    pub fn is_authority_form(&self) -> bool {
        self.form == Form::Authority
    }

    /// Replaces the authority, as a route's rewrite does. Nothing changes on an error.
    ///
    /// # Errors
    /// [`TargetError`] where `authority` is not `host[:port]`, or a CONNECT would lose its port.
    pub fn set_authority(&mut self, authority: &str) -> Result<(), TargetError> {
        let authority = Authority::parse(authority.as_bytes())?;
        if self.form == Form::Authority && authority.port.is_none() {
            return Err(TargetError::Port);
        }
        self.authority = authority;
        Ok(())
    }

    /// Replaces path and query, as a route's rewrite does; made canonical again, so that a rewrite cannot build what a
    /// client may not send. Nothing changes on an error.
    ///
    /// # Errors
    /// [`TargetError`] where the text does not begin with `/` or is not a valid path, and for `*` and CONNECT.
    pub fn set_path_and_query(&mut self, path_and_query: &str) -> Result<(), TargetError> {
        if self.form != Form::Origin || !path_and_query.starts_with('/') {
            return Err(TargetError::Form);
        }
        (self.path_and_query, self.path_len) = canonical_path(path_and_query.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
