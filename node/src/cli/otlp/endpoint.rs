use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// Where collectors take spans, if the URL has no path.
const PATH: &str = "/v1/traces";

/// The URL of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

/// Why a text is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("it is no URL: {0}")]
    Url(#[from] hyper::http::Error),
    #[error("only http:// is spoken, to a collector near by; that one can go on over TLS")]
    Scheme,
    #[error("it has no host")]
    Host,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri = Uri::from_str(text).map_err(hyper::http::Error::from)?;
        if uri.scheme_str() != Some("http") {
            return Err(EndpointError::Scheme);
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(EndpointError::Host);
        }
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let whole = Uri::builder().scheme("http").authority(host).path_and_query(path);
        Ok(Self(whole.build()?))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_collectors_unless_one_is_given() {
        let shown = |text: &str| text.parse::<Endpoint>().unwrap().to_string();
        assert_eq!(shown("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(shown("http://[::1]:4318/"), "http://[::1]:4318/v1/traces");
        assert_eq!(shown("http://a:1/otlp/x"), "http://a:1/otlp/x");
    }

    #[test]
    fn what_cannot_be_spoken_to_is_refused() {
        let refused = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert!(refused("https://a:4318").starts_with("only http://"));
        assert!(refused("127.0.0.1:4318").starts_with("only http://"));
        assert!(refused("http://").starts_with("it is no URL"));
        assert!(refused("a b").starts_with("it is no URL"));
    }
}
