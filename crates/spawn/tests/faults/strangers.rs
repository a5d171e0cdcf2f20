//! Somebody without the key, at the endpoint of a host.

use std::io::Write;
use std::net::TcpStream;

use crate::processes::{hosts, until};
use crate::support::World;

#[test]
fn an_idle_host_ends_whatever_strangers_have_begun() {
    let world = World::new().with("SPAWN_IDLE_SECONDS", "5");
    let id = world.launch(["--", "true"]);
    world.wait(&id).expect_code(0);
    let port = std::fs::read_to_string(world.home.join("endpoint.port")).unwrap();
    let address = format!("127.0.0.1:{}", port.trim());
    let begun = [
        "GET / HT",
        "PUT /bkt/key HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 1000\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: a\r\nx-amz-target: AmazonSQS.SendMessage\r\n\
         content-length: 1000\r\n\r\nhalf",
    ];
    let strangers = begun.map(|begun| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    });
    until("the end of an idle host", || hosts(&world).is_empty());
    drop(strangers);
}
