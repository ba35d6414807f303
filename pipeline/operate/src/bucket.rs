use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use vivace_ledger::{Chain, PartitionState, ledger_folder};
use vivace_model::{Clock, Partition, Random};

use crate::OperateError;

/// Chains that are read at once.
const CHAINS_AT_ONCE: usize = 8;

/// The bucket, and the spans topic whose chains in it are meant.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Where blocks and ledger lie.
    pub store: Arc<dyn ObjectStore>,
    /// The spans topic.
    pub topic: String,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for names of blocks and entries.
    pub random: Arc<Random>,
}

impl Bucket {
    /// The chain of a partition.
    #[must_use]
    pub fn chain(&self, partition: Partition) -> Chain {
        Chain::new(Arc::clone(&self.store), &self.topic, partition, Arc::clone(&self.clock))
    }

    /// The partitions that have a chain, ascending.
    ///
    /// # Errors
    /// [`OperateError::Store`].
    pub async fn partitions(&self) -> Result<Vec<Partition>, OperateError> {
        let names = self.folders(&ledger_folder().join(self.topic.as_str())).await?;
        let mut partitions: Vec<_> =
            names.iter().filter_map(|name| name.parse().ok()).map(Partition).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The newest state of one partition or of all that have a chain, by number.
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Ledger`].
    pub async fn states(&self, only: Option<Partition>) -> Result<Vec<PartitionState>, OperateError> {
        let partitions = match only {
            Some(partition) => vec![partition],
            None => self.partitions().await?,
        };
        let loads = stream::iter(partitions).map(|partition| async move {
            let state = self.chain(partition).load().await?;
            Ok::<_, OperateError>(state)
        });
        loads.buffered(CHAINS_AT_ONCE).try_collect().await
    }

    /// The same bucket for each topic that has chains in it.
    pub(crate) async fn all_topics(&self) -> Result<Vec<Self>, OperateError> {
        let names = self.folders(&ledger_folder()).await?;
        Ok(names.into_iter().map(|topic| Self { topic, ..self.clone() }).collect())
    }

    async fn folders(&self, folder: &Path) -> Result<Vec<String>, OperateError> {
        let listed = self.store.list_with_delimiter(Some(folder)).await;
        let listed = listed.map_err(|source| OperateError::Store { action: "list the ledger", source })?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }
}
