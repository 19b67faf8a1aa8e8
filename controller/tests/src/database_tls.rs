//! A TLS handshake with a project's database, as a client with sslmode=verify-full makes it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// PostgreSQL's SSLRequest: length and code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The certificate that a database on this host presents, in DER, if it is good for this name under this CA; else why not.
pub fn verified_certificate(port: u16, ca_pem: &str, name: &str) -> Result<Vec<u8>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| words(&error))?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&SSL_REQUEST).map_err(|error| words(&error))?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(|error| words(&error))?;
    if answer != *b"S" {
        return Err("the database speaks no TLS".to_owned());
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| words(&error))?;
    }
    Ok(connection.peer_certificates().unwrap()[0].to_vec())
}
