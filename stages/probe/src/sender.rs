use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::api::ApiError;

/// Sends traces by OTLP over gRPC. A trace is sent once: what was not acknowledged may be there or not.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: TraceServiceClient<Channel>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Sender {
    pub(crate) fn new(address: &str, tenant: Option<&str>, timeout: Duration) -> Result<Self, ApiError> {
        let wrong = || ApiError::Address(address.to_owned());
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| wrong())?;
        let endpoint = endpoint.timeout(timeout).connect_timeout(timeout);
        let tenant = tenant.map(str::parse).transpose().map_err(|_| ApiError::Tenant)?;
        Ok(Self { client: TraceServiceClient::new(endpoint.connect_lazy()), tenant })
    }

    /// Sends, and waits for the acknowledgement.
    pub(crate) async fn send(&self, request: ExportTraceServiceRequest) -> Result<(), Status> {
        let mut request = Request::new(request);
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-scope-orgid", tenant.clone());
        }
        let answer = self.client.clone().export(request).await?.into_inner();
        match answer.partial_success {
            Some(partial) if partial.rejected_spans > 0 => {
                Err(Status::invalid_argument(partial.error_message))
            }
            _ => Ok(()),
        }
    }
}
