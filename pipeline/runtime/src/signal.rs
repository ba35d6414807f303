use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// Completes at the first SIGTERM or SIGINT. Once polled, neither ends the process by itself any more.
pub async fn shutdown_signal() {
    let name = tokio::select! {
        () = received(SignalKind::terminate()) => "SIGTERM",
        () = received(SignalKind::interrupt()) => "SIGINT",
    };
    info!(signal = name, "signal received");
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            // Such a process can still be killed; refusing to run would help nobody.
            error!(%error, "failed to listen for a signal");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn sigterm_is_heard() {
        let mut heard = Box::pin(shutdown_signal());
        assert_eq!((&mut heard).now_or_never(), None, "now listening");
        let kill = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
        assert!(kill.success());
        heard.await;
    }
}
