//! TLS settings.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The certificates that are trusted, and the one that is shown.
#[derive(Default)]
pub(super) struct Trust {
    /// Trusted beside the default roots.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Whether the roots of the system and of Mozilla are not trusted.
    pub(super) own_roots_only: bool,
    /// The client certificate's chain and key.
    pub(super) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.len())
            .field("own_roots_only", &self.own_roots_only)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// A certificate or key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCertificate(pub(super) String);

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidCertificate {}

/// The certificates of a PEM text, of which there must be one at least.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidCertificate> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(InvalidCertificate("the PEM text holds no certificate".to_owned())),
        Err(error) => Err(InvalidCertificate(format!("the PEM text is invalid: {error}"))),
    }
}

/// The private key of a PEM text.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, InvalidCertificate> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| InvalidCertificate(format!("the private key is invalid: {error}")))
}

/// Returns the settings for this trust. The system's roots are taken as far as they can be read.
pub(super) fn config(trust: &Trust, http2: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if !trust.own_roots_only {
        roots.roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for root in &trust.roots {
        roots.add(root.clone())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let verified = versions.with_root_certificates(roots);
    let mut config = match &trust.identity {
        Some((chain, key)) => verified.with_client_auth_cert(chain.clone(), key.clone_key())?,
        None => verified.with_no_client_auth(),
    };
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}
