use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use tempfile::TempDir;

use crate::bounded::eventually;
use crate::ports::free_port;
use crate::process::Process;
use crate::tools::tool;

const BUCKET: &str = "traces";
const START_LIMIT: Duration = Duration::from_secs(60);

/// An S3 server on loopback that honours `If-None-Match: *`, in memory, with one bucket.
#[derive(Debug)]
pub struct S3Server {
    process: Process,
    _folder: TempDir,
    port: u16,
}

impl S3Server {
    /// Starts the server and makes the bucket.
    ///
    /// # Errors
    /// When the tools are missing or the server does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(tool("venv/bin/moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::spawn("the S3 server", &command, &folder.path().join("s3.log"))?;
        let mut server = Self { process, _folder: folder, port };
        let http = reqwest::Client::new();
        eventually(START_LIMIT, || {
            let answer = http.put(format!("{}/{BUCKET}", server.endpoint())).send();
            async { Ok(answer.await?.error_for_status()?) }
        })
        .await?;
        server.process.running()?;
        eprintln!("s3: server answers on {}", server.endpoint());
        Ok(server)
    }

    /// `http://host:port`
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where Vivace is to keep its data: `s3://bucket/prefix`.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The server's process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The variables that lead an S3 client to this server.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        Self::environment_at(&self.endpoint())
    }

    /// The variables that lead an S3 client to this server by way of `endpoint` (`http://host:port`).
    #[must_use]
    pub fn environment_at(endpoint: &str) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT", endpoint.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// A client of what lies under `prefix`.
    ///
    /// # Errors
    /// When the client refuses the address.
    pub fn store(&self, prefix: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let bucket = AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_bucket_name(BUCKET)
            .build()?;
        Ok(Arc::new(PrefixStore::new(bucket, prefix)))
    }
}
