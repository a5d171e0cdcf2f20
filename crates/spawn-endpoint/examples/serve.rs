//! Serves a directory until it is killed: `serve DIR [PORT]`.
//!
//! Prints the environment that the `aws` CLI needs. The durability tests kill it.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;

use spawn_endpoint::{Credentials, EndpointConfig, start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: serve DIR [PORT]")?);
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let credentials = Credentials::load_or_create(&dir.join("credentials"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let handle = start(
        listener,
        EndpointConfig {
            dir,
            credentials: credentials.clone(),
            on_request: None,
        },
    )?;
    let mut out = std::io::stdout();
    writeln!(out, "export AWS_ENDPOINT_URL=http://{}", handle.address())?;
    writeln!(
        out,
        "export AWS_ACCESS_KEY_ID={}",
        credentials.access_key_id
    )?;
    writeln!(
        out,
        "export AWS_SECRET_ACCESS_KEY={}",
        credentials.secret_access_key
    )?;
    writeln!(out, "export AWS_DEFAULT_REGION=us-east-1")?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
