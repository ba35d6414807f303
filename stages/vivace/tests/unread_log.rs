//! A process whose output nobody reads goes on.

#![allow(clippy::unwrap_used, reason = "a test ends by it")]

use std::io::{PipeReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// What a pipe takes on Linux before it is full.
const PIPE_BYTES: usize = 64 << 10;

/// A process with a full pipe for all that it says. It is killed when it is dropped.
struct Process {
    child: Child,
    http: SocketAddr,
    _unread: PipeReader,
    _data: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start() -> Process {
    let data = tempfile::tempdir().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (unread, mut full) = pipe().unwrap();
    full.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_vivace"))
        .env_clear()
        .env("VIVACE_DATA_DIR", data.path())
        .env("VIVACE_HTTP_LISTEN", http.to_string())
        .env("VIVACE_GRPC_LISTEN", "127.0.0.1:0")
        .env("VIVACE_DISTRIBUTOR_GRPC_LISTEN", "127.0.0.1:0")
        .env("VIVACE_DISTRIBUTOR_HTTP_LISTEN", "127.0.0.1:0")
        .env("VIVACE_LOG_LEVEL", "trace")
        .stdout(full.try_clone().unwrap())
        .stderr(full)
        .spawn()
        .unwrap();
    Process { child, http, _unread: unread, _data: data }
}

/// The answer to a GET; none while the port is closed.
fn fetch(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_process_whose_output_nobody_reads_answers_and_stops() {
    let mut process = start();
    while fetch(process.http, "/ready").is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
        assert_eq!(process.child.try_wait().unwrap(), None, "it ended");
        // A pause: nobody sends.
        assert!(sync_channel::<()>(0).1.recv_timeout(Duration::from_millis(50)).is_err());
    }
    for _ in 0..100 {
        assert!(fetch(process.http, "/live").unwrap().ends_with("alive\n"));
    }
    assert!(fetch(process.http, "/metrics").unwrap().contains("\nvivace_log_lines_lost_total "));
    let term = Command::new("kill").args(["-TERM", &process.child.id().to_string()]).status().unwrap();
    assert!(term.success());
    let status = process.child.wait().unwrap();
    assert!(status.success(), "{status}");
}
