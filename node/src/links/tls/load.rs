use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig, client::Resumption};

use super::chain::Chain;
use super::files::TlsFiles;
use super::identity::{dns_name, names};
use crate::tls::{TlsError, content, describe, never_resume, provider, roots};

/// Nobody looks further ahead: a hundred years, in seconds.
const FAR: u64 = 100 * 365 * 24 * 60 * 60;

/// Neither side talks to other services that use the same authority.
const PROTOCOL: &[u8] = b"lampyrid";

/// What both roles need for a connection.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// Until when peers accept the own certificate, and those between it and the authority.
    pub(super) valid_until: UnixTime,
}

/// What is needed to look at the own certificate as peers will.
pub(super) struct Own {
    chain: Vec<CertificateDer<'static>>,
    pub(super) as_dialled: Arc<Chain>,
    as_dialler: Arc<dyn ClientCertVerifier>,
}

impl Loaded {
    /// Reads the files and looks at the own certificate as peers will look at it.
    pub(super) fn checked(files: &TlsFiles, name: &str) -> Result<Self, TlsError> {
        let name = dns_name(name).map(|_| name).ok_or_else(|| TlsError::Name(name.to_owned()))?;
        files.pair().check_secret()?;
        let (mut loaded, own) = Self::unchecked(files)?;
        let fault = |detail| content("tls-cert", &files.cert, detail);
        let (first, rest) = own.chain.split_first().ok_or_else(|| fault(String::new()))?;
        let now = UnixTime::now();
        let accepted = own
            .as_dialled
            .check(first, rest, now)
            .and_then(|()| own.as_dialler.verify_client_cert(first, rest, now).map(drop));
        accepted
            .map_err(|error| fault(format!("peers would not accept it: {}", describe(&error))))?;
        if !names(first, name) {
            return Err(fault(format!(
                "it does not name this process, `{name}`: give the --name that it is for, or a \
                 certificate with subjectAltName=DNS:{name} (its common name does not count)"
            )));
        }
        loaded.valid_until =
            last_valid(now, |time| own.as_dialled.check(first, rest, time).is_ok());
        Ok(loaded)
    }

    pub(super) fn unchecked(files: &TlsFiles) -> Result<(Self, Own), TlsError> {
        let provider = provider();
        let (chain, key) = files.pair().read()?;
        let roots = Arc::new(roots("tls-ca", &files.ca)?);
        let as_dialler =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| content("tls-ca", &files.ca, error))?;
        let as_dialled = Arc::new(Chain::new(roots, provider.signature_verification_algorithms));
        let pair = |error: rustls::Error| files.pair().unfit(&error);
        let client = client(&provider, &as_dialled, &chain, key.clone_key()).map_err(pair)?;
        let server = server(&provider, &as_dialler, &chain, key).map_err(pair)?;
        let (client, server) = (Arc::new(client), Arc::new(server));
        let loaded = Self { client, server, valid_until: UnixTime::now() };
        Ok((loaded, Own { chain, as_dialled, as_dialler }))
    }
}

/// The last second at which it holds, which it does at `now`: certificates say until when they are
/// valid, but not to us, so they are asked again and again, by halves.
fn last_valid(now: UnixTime, holds: impl Fn(UnixTime) -> bool) -> UnixTime {
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let (mut valid, mut invalid) = (now.as_secs(), now.as_secs() + FAR);
    while invalid - valid > 1 {
        let middle = valid + (invalid - valid) / 2;
        match holds(at(middle)) {
            true => valid = middle,
            false => invalid = middle,
        }
    }
    at(valid)
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<Chain>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Chain>::clone(verifier))
        .with_client_auth_cert(chain.to_vec(), key)?;
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(client)
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<dyn ClientCertVerifier>,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(verifier))
        .with_single_cert(chain.to_vec(), key)?;
    never_resume(&mut server);
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_valid_second_is_found() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_000));
        for end in [1_000, 1_001, 5_000, 1_000 + 90 * 24 * 60 * 60] {
            assert_eq!(last_valid(now, |time| time.as_secs() <= end).as_secs(), end);
        }
        assert_eq!(last_valid(now, |_| true).as_secs(), 1_000 + FAR - 1);
    }
}
