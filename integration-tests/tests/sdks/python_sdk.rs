use std::collections::BTreeMap;

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde::Deserialize;
use vivace_integration_tests::{Vivace, run_python};

use crate::{Sent, by_trace};

/// What the script prints.
#[derive(Deserialize)]
struct Printed {
    /// Requests in protobuf and base64, by trace id; their field numbers are those of `TracesData`.
    traces: BTreeMap<String, String>,
}

/// Lets the Python SDK send its traces and gives what its in-memory exporter says they are.
pub(crate) async fn send(vivace: &Vivace, protocol: &str) -> anyhow::Result<Vec<Sent>> {
    let endpoint = if protocol == "grpc" { vivace.otlp_grpc() } else { vivace.otlp_http() };
    let printed = run_python("send_traces.py", &[protocol, &endpoint]).await?;
    let printed: Printed = serde_json::from_str(&printed)?;
    let mut sent = Vec::new();
    for (id, request) in printed.traces {
        let traces = by_trace(
            &format!("the Python SDK over {protocol}"),
            TracesData::decode(STANDARD.decode(request)?.as_slice())?,
        );
        ensure!(traces.len() == 1 && traces[0].id.to_string() == id, "the script mixes traces");
        sent.extend(traces);
    }
    ensure!(sent.len() == 3, "the script makes three traces, not {}", sent.len());
    Ok(sent)
}
