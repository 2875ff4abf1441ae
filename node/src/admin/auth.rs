use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// What a client must show to be served. Only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token that this text is. White space at both ends does not count.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(Sha256::digest(text.trim_ascii()).into())
    }

    /// True if `text` is the token, found out in a time that tells nothing of the difference: the
    /// hashes are compared, every byte of them.
    fn is(&self, text: &[u8]) -> bool {
        let other = Self::new(text);
        self.0.iter().zip(other.0).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    }
}

/// Lets a request pass if it shows the token, where one is demanded. Probes need none.
pub(crate) async fn demand_token(
    State(token): State<Arc<Option<Token>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = token.as_ref() else { return next.run(request).await };
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let passes = shown.and_then(bearer).is_some_and(|text| token.is(text));
    if passes { next.run(request).await } else { unauthorized().into_response() }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, text) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(text)
}

fn unauthorized() -> Problem {
    let detail = "this process demands a header `Authorization: Bearer` with its admin token";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
}

/// Refuses changes that a web page of another origin asks for. A browser would send them for any
/// page its user looks at, and a process on loopback has no other protection unless it has a token.
pub(crate) async fn refuse_other_origins(request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && is_foreign(&request) {
        let detail = "changes are not accepted from web pages of another origin";
        let title = "The origin is another";
        return Problem::new(StatusCode::FORBIDDEN, "cross_origin", title, detail).into_response();
    }
    next.run(request).await
}

fn is_foreign(request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    header(header::ORIGIN).is_some_and(|origin| {
        origin.split_once("://").map(|(_, authority)| authority) != header(header::HOST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::new(b"open sesame\n");
        assert!(token.is(b"open sesame"));
        assert!(!token.is(b"open sesam"));
        assert!(!token.is(b""));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"bEARER x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"Basic x"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
