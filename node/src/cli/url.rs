//! URLs of processes.

use hyper::Uri;
use tokio_rustls::rustls::pki_types::ServerName;

/// Whether the URL is one of TLS, if it is one at all and there is what it needs.
pub(super) fn check(url: &str, trusts: bool) -> Result<bool, String> {
    let parsed: Uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("http"), Some(_)) => Ok(false),
        (Some("https"), Some(_)) if !trusts => Err(format!(
            "`{url}` needs --admin-ca FILE (or LAMPYRID_ADMIN_CA): the authority that signed the \
             certificate of the process"
        )),
        (Some("https"), Some(_)) => {
            let host = host(&parsed);
            let name = ServerName::try_from(host);
            name.map(|_| true).map_err(|_| format!("`{url}`: no certificate can name `{host}`"))
        }
        _ => Err(format!("`{url}` is not a URL such as http://127.0.0.1:41002")),
    }
}

/// The host of a URL, without the brackets of an address of IPv6.
pub(super) fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_taken_and_those_of_tls_with_an_authority_only() {
        assert_eq!(check("http://127.0.0.1:1", false), Ok(false));
        for url in ["", "127.0.0.1:1", "http://", "ftp://a", "https://a_%:1", "https://a..b:1"] {
            assert!(check(url, true).is_err(), "{url}");
        }
        assert!(check("https://a:1", false).unwrap_err().contains("--admin-ca FILE"));
        for url in ["https://a:1", "https://127.0.0.1:1", "https://[::1]:1"] {
            assert_eq!(check(url, true), Ok(true), "{url}");
        }
    }
}
