//! The object store that the settings name.
//! Owns: reading its URL and the clouds' variables, and how often a request is repeated. Does not own: what is kept there.

mod monitored;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use reqwest::Url;

pub(crate) use self::monitored::MonitoredStore;

/// Folder of blocks and ledger below the data folder, while no storage URL is set.
const LOCAL_FOLDER: &str = "store";

/// How often a request is repeated before its error comes out, and for how long. Stages try again by themselves, for ever; a
/// request that took minutes to fail would keep them from noticing that the store is down, and from stopping.
const RETRIES_MAX: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Variables of which one says how to sign requests to S3.
const AWS_CREDENTIALS: [&str; 7] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_SKIP_SIGNATURE",
];

/// Opens the store at `url`, or a folder below `data_dir` if it is empty.
pub(crate) fn open(url: &str, data_dir: &Path) -> Result<Arc<dyn ObjectStore>> {
    if url.is_empty() {
        return folder(&data_dir.join(LOCAL_FOLDER));
    }
    check_url(url).map_err(anyhow::Error::msg)?;
    if let Some(path) = url.strip_prefix("file://") {
        let path = Path::new(path);
        // A typing mistake, or a volume that is not mounted: a fresh store there would look as if all data were gone.
        if !path.is_dir() {
            bail!(
                "VIVACE_STORAGE_URL {url:?}: there is no folder {}; create it or mount it first",
                path.display()
            );
        }
        return folder(path);
    }
    // It is not shown: it could be a secret with a typing mistake.
    let parsed = Url::parse(url).context("VIVACE_STORAGE_URL is no URL")?;
    let failed = || format!("failed to open VIVACE_STORAGE_URL {url:?}");
    let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).with_context(failed)?;
    // The cloud libraries' own variables (AWS_ENDPOINT, AWS_ACCESS_KEY_ID, …), as users know them.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let store = cloud(&scheme, url, &variables.collect::<Vec<_>>())?;
    Ok(if prefix.as_ref().is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
}

/// Sets a builder of the library up by the variables that it knows.
macro_rules! built {
    ($builder:ty, $url:expr, $variables:expr) => {{
        let builder = <$builder>::new().with_url($url).with_retry(RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        });
        let builder = $variables.iter().fold(builder, |builder, (name, value)| {
            match name.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        });
        builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
    }};
}

fn cloud(
    scheme: &ObjectStoreScheme,
    url: &str,
    variables: &[(String, String)],
) -> Result<Arc<dyn ObjectStore>> {
    let of = |prefix: &str| -> Vec<_> {
        let ours = |(name, _): &&(String, String)| name.to_ascii_lowercase().starts_with(prefix);
        variables.iter().filter(ours).collect()
    };
    let built = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let variables = of("aws_");
            check_aws(&variables)?;
            built!(AmazonS3Builder, url, variables)
        }
        ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder, url, of("google_")),
        ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder, url, of("azure_")),
        _ => bail!("VIVACE_STORAGE_URL {url:?} must begin with s3://, gs://, az:// or file:///"),
    };
    built.with_context(|| format!("failed to open VIVACE_STORAGE_URL {url:?}"))
}

/// Without credentials the library would ask a metadata service that most networks do not have, at each request and for ever.
fn check_aws(variables: &[&(String, String)]) -> Result<()> {
    let given = |(name, value): &&&(String, String)| {
        !value.is_empty() && AWS_CREDENTIALS.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if variables.iter().any(|variable| given(&variable)) {
        return Ok(());
    }
    bail!(
        "VIVACE_STORAGE_URL is in S3, but there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
         AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, or AWS_CONTAINER_CREDENTIALS_FULL_URI; for the role of a virtual \
         machine AWS_METADATA_ENDPOINT=http://169.254.169.254; for a bucket that is open to all AWS_SKIP_SIGNATURE=true"
    )
}

/// Refuses a URL that has a secret in it: it is shown by logs and by `/status/config`. The text does not repeat it.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let Ok(parsed) = Url::parse(url) else { return Ok(()) };
    // In Azure's URLs the user is the container.
    let azure = ["az", "adl", "azure", "abfs", "abfss"].contains(&parsed.scheme());
    let user = !parsed.username().is_empty() && !azure;
    if user || parsed.password().is_some() || parsed.query().is_some() {
        return Err("VIVACE_STORAGE_URL must not have credentials or parameters in it; \
                    use the variables AWS_*, GOOGLE_* and AZURE_*"
            .into());
    }
    Ok(())
}

/// The same, for one who only looks: a folder that is not there is not made.
pub(crate) fn open_existing(url: &str, data_dir: &Path) -> Result<Arc<dyn ObjectStore>> {
    if let Some(folder) = local(url, data_dir)
        && !folder.is_dir()
    {
        bail!("there is no folder {}", folder.display());
    }
    open(url, data_dir)
}

/// What the paths of blocks follow, for other programs.
pub(crate) fn base(url: &str, data_dir: &Path) -> Result<String> {
    let Some(folder) = local(url, data_dir) else { return Ok(url.to_owned()) };
    let folder = folder.canonicalize().with_context(|| format!("failed to find {}", folder.display()))?;
    Ok(folder.display().to_string())
}

/// Whether the store is a folder of this machine, so that its times are by our clock.
pub(crate) fn is_local(url: &str) -> bool {
    local(url, Path::new("")).is_some()
}

/// The folder, if the store is one of this machine.
fn local(url: &str, data_dir: &Path) -> Option<PathBuf> {
    if url.is_empty() {
        Some(data_dir.join(LOCAL_FOLDER))
    } else {
        url.strip_prefix("file://").map(PathBuf::from)
    }
}

/// A folder of this machine. Files are synced: a ledger entry must not survive a power cut that its block did not.
fn folder(path: &Path) -> Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))?;
    let store = LocalFileSystem::new_with_prefix(path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_url_are_refused_and_not_repeated() {
        for url in [
            "s3://key:secret@bucket/prefix",
            "s3://key@bucket",
            "az://container/?sig=secret",
            "https://account.blob.core.windows.net/c?sv=1&sig=secret",
            "az://container:secret@account/x",
        ] {
            let error = check_url(url).unwrap_err();
            assert!(error.starts_with("VIVACE_STORAGE_URL must not have credentials"), "{error}");
            assert!(!error.contains("secret") && !error.contains("key"), "{error}");
        }
        for url in ["s3://bucket/prefix", "abfss://container@account.dfs.core.windows.net/x", "file:///a", ""]
        {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn s3_needs_to_be_given_credentials() {
        let open = |variables: &[(&str, &str)]| {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            cloud(&ObjectStoreScheme::AmazonS3, "s3://bucket", &variables)
                .map_err(|error| format!("{error:#}"))
        };
        let error = open(&[("AWS_REGION", "x"), ("AWS_ACCESS_KEY_ID", "")]).unwrap_err();
        assert!(error.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"), "{error}");
        assert!(open(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]).is_ok());
        assert!(open(&[("AWS_METADATA_ENDPOINT", "http://169.254.169.254")]).is_ok());
        assert!(open(&[("AWS_SKIP_SIGNATURE", "true")]).is_ok());
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = format!("file://{}/missing", folder.path().display());
        let error = format!("{:#}", open(&missing, folder.path()).unwrap_err());
        assert!(error.contains("there is no folder"), "{error}");
        assert!(open(&format!("file://{}", folder.path().display()), folder.path()).is_ok());
        assert!(open("", folder.path()).is_ok());
    }
}
