use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, Result};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::chances::Plan;
use super::{Operation, Shared};

/// The last change of each object, for listings that do not know of it yet.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<BTreeMap<Path, Change>>);

#[derive(Clone, Debug)]
struct Change {
    at: Instant,
    /// What a stale listing still shows; nothing if the object was created.
    before: Option<ObjectMeta>,
}

impl Changes {
    pub(super) fn created(&self, path: &Path) {
        self.0.lock().insert(path.clone(), Change { at: Instant::now(), before: None });
    }

    pub(super) fn deleted(&self, meta: ObjectMeta) {
        self.0.lock().insert(meta.location.clone(), Change { at: Instant::now(), before: Some(meta) });
    }

    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    fn younger_than(&self, age: Duration) -> BTreeMap<Path, Change> {
        let mut changes = self.0.lock();
        changes.retain(|_, change| change.at.elapsed() < age);
        changes.clone()
    }
}

impl Shared {
    /// A listing, each recent change of which may be missing.
    pub(super) async fn list(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        let plan = self.begin(Operation::List, &folder).await?;
        let objects = self.inner.list(prefix).try_collect().await?;
        let within = |path: &Path| *path != folder && path.prefix_matches(&folder);
        let objects = self.make_stale(&plan, objects, within);
        self.end(&plan, Ok(objects)).await
    }

    pub(super) async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let plan = self.begin(Operation::List, &folder).await?;
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        let beside = |path: &Path| path.prefix_match(&folder).is_some_and(|parts| parts.count() == 1);
        found.objects = self.make_stale(&plan, found.objects, beside);
        self.end(&plan, Ok(found)).await
    }

    fn make_stale(
        &self,
        plan: &Plan,
        objects: Vec<ObjectMeta>,
        listed: impl Fn(&Path) -> bool,
    ) -> Vec<ObjectMeta> {
        if plan.faults.stale <= 0.0 {
            return objects;
        }
        let mut objects: BTreeMap<_, _> =
            objects.into_iter().map(|object| (object.location.clone(), object)).collect();
        for (path, change) in self.changes.younger_than(plan.faults.stale_max) {
            if !listed(&path) || !plan.draw.hits(&format!("stale {path}"), plan.faults.stale) {
                continue;
            }
            self.count(|struck| struck.stale += 1);
            match change.before {
                Some(meta) => objects.insert(path, meta),
                None => objects.remove(&path),
            };
        }
        objects.into_values().collect()
    }
}
