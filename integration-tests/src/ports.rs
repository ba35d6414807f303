use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are taken from below the range that Linux gives to outgoing connections, so that a service which was
/// killed finds its port still free when it is started again.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

/// Steps through the range; starts somewhere that differs between processes.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address that nobody listens on now and that this process did not give out before.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let range = LAST - FIRST;
    let start = (std::process::id() % u32::from(range)) as u16;
    for _ in 0..range {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Process ids follow each other, so a stride keeps the ports of two test programs apart.
        let port = FIRST + (u32::from(start) * 37 + u32::from(step)).rem_euclid(u32::from(range)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {LAST}")
}
