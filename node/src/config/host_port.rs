use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An address as people write it: a host name or IP address, and a port. Resolved when used, so
/// that a name may come to mean another machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Host name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not HOST:PORT, such as 127.0.0.1:7000 or [::1]:7000")]
pub struct ParseHostPortError {
    text: String,
}

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        let fault = || ParseHostPortError { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) => inner.to_owned(),
            Some(None) => return Err(fault()),
            None if host.contains(':') => return Err(fault()),
            None => host.to_owned(),
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '@';
        if host.is_empty() || host.len() > 253 || host.contains(odd) {
            return Err(fault());
        }
        Ok(Self { host, port: port.parse().map_err(|_| fault())? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HostPort {
    /// The first address it means now. Blocks while the name is looked up.
    ///
    /// # Errors
    /// The resolver's, or `NotFound` if the name has no address.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_the_same() {
        for text in ["127.0.0.1:7000", "localhost:0", "[::1]:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert!("[::1]:1".parse::<HostPort>().unwrap().resolve().unwrap().ip().is_loopback());
    }

    #[test]
    fn what_is_no_address_is_refused_and_shown() {
        for text in ["", "a", ":1", "a:", "a:65536", "::1:5", "[::1:5", "a b:1", "http://a:1"] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
