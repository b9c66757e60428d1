//! Encrypted connections, as the parameters `sslmode` and `sslrootcert` of an address ask for them
//! ([libpq](https://www.postgresql.org/docs/current/libpq-ssl.html)).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::postgres::config::SslMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What is checked of the other side, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    /// That it has the key of the certificate that it shows, whichever that is: nobody can listen, somebody can pretend.
    Nothing,
    /// That an authority we trust has signed the certificate.
    Authority,
    /// And that it was made out to the name of the host.
    Name,
}

/// What an address asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whether connections may, must or must not be encrypted.
    pub(super) mode: SslMode,
    check: Check,
    /// Certificates of the authorities that are trusted; none: those that Mozilla trusts.
    root: Option<PathBuf>,
}

impl Wanted {
    /// Takes these parameters out of an address; the rest is for the client library, which knows less of them.
    ///
    /// # Errors
    /// What a parameter is expected to be.
    pub(super) fn take(address: &str) -> Result<(Self, String), String> {
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        let (mut name, mut root, mut rest) = ("prefer".to_owned(), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || {
                let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
                decoded.map(String::from).map_err(|_| format!("`{key}`: expected UTF-8"))
            };
            match key {
                "sslmode" => name = value()?,
                "sslrootcert" => root = Some(value()?),
                _ => rest.push(pair),
            }
        }
        let (mode, check) = match &*name {
            "disable" => (SslMode::Disable, Check::Nothing),
            "prefer" => (SslMode::Prefer, Check::Nothing),
            "require" => (SslMode::Require, Check::Nothing),
            "verify-ca" => (SslMode::Require, Check::Authority),
            "verify-full" => (SslMode::Require, Check::Name),
            _ => {
                let modes = "`disable`, `prefer`, `require`, `verify-ca`, `verify-full`";
                return Err(format!("`sslmode`: expected one of {modes}, found `{name}`"));
            }
        };
        let rest =
            if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // `system` is what libpq calls the authorities that everybody trusts.
        let root = root.filter(|root| root != "system").map(PathBuf::from);
        // Whoever names an authority wants it to be asked.
        let check = if root.is_some() { check.max(Check::Authority) } else { check };
        Ok((Self { mode, check, root }, rest))
    }

    /// What makes connections of this kind.
    ///
    /// # Errors
    /// A file of certificates that cannot be read or used.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(ring::default_provider());
        let trusted = if self.check == Check::Nothing {
            None
        } else {
            let roots = Arc::new(roots(self.root.as_deref())?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            Some(builder.build().map_err(|error| error.to_string())?)
        };
        let verifier = Verifier {
            trusted,
            needs_name: self.check == Check::Name,
            provider: Arc::clone(&provider),
        };
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
    }
}

/// The authorities of a file, or those that Mozilla trusts.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let Some(path) = file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let fail = |reason: String| format!("`sslrootcert`: {}: {reason}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fail(e.to_string()))? {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fail("expected certificates in PEM, found none".into()));
    }
    Ok(roots)
}

/// Checks as much of a certificate as was asked for, and always who holds its key.
#[derive(Debug)]
struct Verifier {
    trusted: Option<Arc<WebPkiServerVerifier>>,
    needs_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let checked =
            trusted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // The name is looked at last: all else is well.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.needs_name => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_an_address_are_those_of_libpq() {
        let take = |address: &str| Wanted::take(address).unwrap();
        let wanted =
            |mode, check, root: Option<&str>| Wanted { mode, check, root: root.map(Into::into) };
        let base = "postgres://a:b%3F@db/x";
        for (query, expected, rest) in [
            ("", wanted(SslMode::Prefer, Check::Nothing, None), ""),
            ("?sslmode=disable", wanted(SslMode::Disable, Check::Nothing, None), ""),
            ("?sslmode=require", wanted(SslMode::Require, Check::Nothing, None), ""),
            (
                "?sslmode=require&sslrootcert=/etc/a%20b.pem",
                wanted(SslMode::Require, Check::Authority, Some("/etc/a b.pem")),
                "",
            ),
            (
                "?connect_timeout=3&sslmode=verify-full&sslrootcert=system&channel_binding=require",
                wanted(SslMode::Require, Check::Name, None),
                "?connect_timeout=3&channel_binding=require",
            ),
        ] {
            assert_eq!(take(&format!("{base}{query}")), (expected, format!("{base}{rest}")));
        }
        let wrong = Wanted::take("postgres://db?sslmode=maybe").unwrap_err();
        assert!(wrong.contains("`verify-full`, found `maybe`"), "{wrong}");
    }

    #[test]
    fn files_of_certificates_are_named_when_they_are_wrong() {
        assert!(roots(None).unwrap().len() > 50);
        let file = tempfile::NamedTempFile::new().unwrap();
        let wrong = roots(Some(file.path())).unwrap_err();
        assert!(wrong.ends_with("expected certificates in PEM, found none"), "{wrong}");
        std::fs::write(
            file.path(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let wrong = roots(Some(file.path())).unwrap_err();
        assert!(wrong.contains(&file.path().display().to_string()), "{wrong}");
        assert!(roots(Some(Path::new("/none.pem"))).is_err());
    }
}
