use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ports::free_port;
use crate::settings::loopback;

/// Bytes that are passed on at a time.
const CHUNK: usize = 64 << 10;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// They work.
    Open,
    /// Each piece of data takes so much longer, either way.
    Slow(Duration),
    /// They stay, and nothing comes through.
    Silent,
    /// Those that are open break, and new ones are broken at once.
    Cut,
}

/// A way to a service of which the line can be cut. Stops with its drop.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    line: watch::Sender<Line>,
    _task: JoinSet<()>,
}

impl TcpProxy {
    /// Listens on a free port of loopback and passes everything on to `target` (`host:port`).
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(loopback(port)).await?;
        let (line, watched) = watch::channel(Line::Open);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, target.into(), watched));
        Ok(Self { port, line, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> String {
        loopback(self.port)
    }

    /// Changes the line, of connections that are open too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connect(client, Arc::clone(&target), line.clone()));
            }
        }
    }
}

async fn connect(client: TcpStream, target: Arc<str>, line: watch::Receiver<Line>) {
    let mut cut = line.clone();
    // A broken connection is all that a proxy has to say about any trouble.
    let passed = async {
        let target: SocketAddr = target.parse().map_err(io::Error::other)?;
        let server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pass_on(from_client, to_server, line.clone()),
            pass_on(from_server, to_client, line.clone())
        )?;
        io::Result::Ok(())
    };
    tokio::select! {
        biased;
        _cut = cut.wait_for(|line| *line == Line::Cut) => {}
        _ended = passed => {}
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let state = *line.borrow_and_update();
        match state {
            Line::Slow(time) => sleep(time).await,
            Line::Silent => {
                let open = line.wait_for(|line| *line != Line::Silent).await;
                open.map_err(io::Error::other)?;
            }
            Line::Open | Line::Cut => {}
        }
        to.write_all(&chunk[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_open_or_cut() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpProxy::start(&server.local_addr().unwrap().to_string()).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        let mut bytes = [0; 8];
        served.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"question");
        proxy.set(Line::Silent);
        served.write_all(b"answered").await.unwrap();
        proxy.set(Line::Open);
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"answered");
        proxy.set(Line::Cut);
        assert!(matches!(client.read(&mut bytes).await, Ok(0) | Err(_)), "it is cut");
        let mut another = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(matches!(another.read(&mut bytes).await, Ok(0) | Err(_)), "so is a new one");
    }
}
