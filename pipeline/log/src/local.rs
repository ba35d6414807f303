//! The embedded log: durable, for one process, in a folder of its own.
//! Owns: the folder (an exclusive lock says so), its topics, and the threads: one writer per topic, one keeper.
//! Does not own: what records mean. Guarantee: see the crate; an append is answered after its group's fdatasync.
//!
//! ```text
//! <dir>/lock
//! <dir>/<topic>/topic.json             number of partitions; older segments may be of fewer
//! <dir>/<topic>/groups.json            consumer groups and their commits
//! <dir>/<topic>/<20 digits>.log        segments of the topic's one journal, all partitions together
//! ```

mod disk;
mod frame;
mod groups;
mod index;
mod keeper;
mod member;
mod queue;
mod reader;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod topic;
mod writer;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use vivace_model::{Clock, Offset, OffsetRange, Partition, SystemClock};

use self::disk::{Disk, SystemDisk, storage};
use self::keeper::{Signal, Topics};
use self::member::LocalMembership;
use self::queue::Queue;
use self::reader::LocalReader;
use self::recover::Recovered;
use self::topic::{Poison, Topic};
use self::writer::Writer;
use crate::config::topic_name_valid;
use crate::{LocalConfig, Log, LogError, Membership, NewRecord, Reader, TopicSpec};

/// The embedded log. Dropping it writes what was accepted, ends its threads and frees the folder.
#[derive(Debug)]
pub struct LocalLog {
    // Only the last reference ends the threads; a task that creates a topic may hold one a little longer.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    config: LocalConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    topics: Arc<Topics>,
    /// Held while a topic is created, so that two never are at once.
    creating: Mutex<()>,
    poison: Arc<Poison>,
    keeper: Arc<Signal>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    keeping: Mutex<Option<JoinHandle<()>>>,
    /// Held for its lock.
    _lock: File,
}

impl LocalLog {
    /// Opens the log in a folder, which is created if it is missing, and reads what it holds. Blocks meanwhile; the last
    /// segment of each topic is read whole, of others only frame headers.
    ///
    /// # Errors
    /// [`LogError::Storage`] if another process has the folder or the disk fails, [`LogError::Corrupt`] if something
    /// other than a torn tail is damaged.
    pub fn open(dir: impl AsRef<Path>, config: LocalConfig) -> Result<Arc<Self>, LogError> {
        Self::open_with(dir.as_ref(), config, Arc::new(SystemClock), Arc::new(SystemDisk))
    }

    fn open_with(
        dir: &Path,
        config: LocalConfig,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>, LogError> {
        let action = || storage(format!("failed to open the log in {}", dir.display()));
        fs::create_dir_all(dir).map_err(action())?;
        let lock = lock(dir)?;
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            config,
            disk,
            clock,
            topics: Arc::default(),
            creating: Mutex::new(()),
            poison: Arc::default(),
            keeper: Arc::default(),
            writers: Mutex::default(),
            keeping: Mutex::default(),
            _lock: lock,
        });
        for entry in fs::read_dir(dir).map_err(action())? {
            let entry = entry.map_err(action())?;
            let is_dir = entry.file_type().map_err(action())?.is_dir();
            if let (true, Some(name)) = (is_dir, entry.file_name().to_str())
                && let Some(recovered) = recover::open(&*inner.disk, &entry.path())?
            {
                inner.start(name, recovered)?;
            }
        }
        let (signal, topics) = (Arc::clone(&inner.keeper), Arc::clone(&inner.topics));
        let keeping = spawn("log-keeper", move || keeper::run(&signal, &topics))?;
        *inner.keeping.lock() = Some(keeping);
        Ok(Arc::new(Self { inner }))
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.inner.topics.read().get(name).cloned().ok_or_else(|| LogError::TopicMissing(name.to_owned()))
    }

    /// Does what the keeper does, now.
    #[cfg(test)]
    fn keep(&self) {
        assert!(keeper::keep(&self.inner.topics));
    }
}

impl Inner {
    /// Puts a topic that was opened to work.
    fn start(&self, name: &str, recovered: Recovered) -> Result<(), LogError> {
        let Recovered { partitions, index, groups, file } = recovered;
        let last = index.last();
        let (sequence, length, next) = (last.sequence, last.length, last.ends());
        let topic = Arc::new(Topic {
            name: name.to_owned(),
            dir: self.dir.join(name),
            partitions,
            config: self.config.clone(),
            queue: Queue::new(self.config.queue_bytes_max.as_usize()),
            index: RwLock::new(index),
            groups,
            poison: Arc::clone(&self.poison),
            keeper: Arc::clone(&self.keeper),
            retention: Mutex::new(None),
            news: (0..partitions).map(|_| Notify::new()).collect(),
        });
        let writer = Writer {
            topic: Arc::clone(&topic),
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
            file,
            sequence,
            length,
            next,
            staging: Vec::new(),
        };
        let ending = Ending(Arc::clone(&topic));
        let thread = spawn(&writer_name(name), move || {
            let _ending = ending;
            writer.run();
        })?;
        self.writers.lock().push(thread);
        self.topics.write().insert(name.to_owned(), topic);
        Ok(())
    }

    fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.poison.check()?;
        let _creating = self.creating.lock();
        let found = self.topics.read().get(&spec.name).cloned();
        if let Some(topic) = found {
            return ensured(&topic, spec);
        }
        if !topic_name_valid(&spec.name) || spec.partitions == 0 {
            let action = format!("topic '{}' of {} partitions cannot be made", spec.name, spec.partitions);
            return Err(LogError::Storage { action, source: io::ErrorKind::InvalidInput.into() });
        }
        let dir = self.dir.join(&spec.name);
        recover::create(&*self.disk, &dir, spec.partitions)?;
        let recovered = recover::open(&*self.disk, &dir)?.expect("it was just made");
        self.start(&spec.name, recovered)?;
        let topic = self.topics.read().get(&spec.name).cloned().expect("it was just started");
        ensured(&topic, spec)
    }
}

impl Inner {
    /// Ends the topic's writer, notes the new number and opens the topic again.
    fn grow_topic(&self, name: &str, partitions: u32) -> Result<(), LogError> {
        self.poison.check()?;
        let _creating = self.creating.lock();
        let found = self.topics.read().get(name).cloned();
        let Some(topic) = found else { return Err(LogError::TopicMissing(name.to_owned())) };
        let actual = topic.partitions;
        if actual > partitions {
            return Err(LogError::TopicDiffers { topic: name.to_owned(), expected: partitions, actual });
        }
        if actual == partitions {
            return Ok(());
        }
        self.topics.write().remove(name);
        topic.queue.close();
        let mut writers = self.writers.lock();
        if let Some(index) =
            writers.iter().position(|writer| writer.thread().name() == Some(&writer_name(name)))
        {
            // One that panicked has said so, and poisoned the log.
            drop(writers.swap_remove(index).join());
        }
        drop(writers);
        self.poison.check()?;
        topic.groups.save().map_err(storage(format!("failed to write the groups of topic {name}")))?;
        let dir = self.dir.join(name);
        recover::grow(&dir, partitions)?;
        let recovered = recover::open(&*self.disk, &dir)?.expect("it was a topic before");
        self.start(name, recovered)
    }
}

fn writer_name(topic: &str) -> String {
    format!("log {topic}")
}

fn ensured(topic: &Topic, spec: &TopicSpec) -> Result<(), LogError> {
    if topic.partitions != spec.partitions {
        let (expected, actual) = (spec.partitions, topic.partitions);
        return Err(LogError::TopicDiffers { topic: spec.name.clone(), expected, actual });
    }
    *topic.retention.lock() = Some(spec.retention);
    topic.keeper.work();
    Ok(())
}

impl Drop for Inner {
    fn drop(&mut self) {
        for topic in self.topics.read().values() {
            topic.queue.close();
        }
        for writer in self.writers.lock().drain(..) {
            // One that panicked has said so.
            drop(writer.join());
        }
        self.keeper.stop();
        if let Some(keeping) = self.keeping.lock().take() {
            drop(keeping.join());
        }
        // Readers that outlive the log are told so instead of waiting for ever.
        self.poison.set("it was closed".into());
        for topic in self.topics.read().values() {
            topic.wake_all();
        }
    }
}

/// Lets nobody wait for a writer that is gone.
struct Ending(Arc<Topic>);

impl Drop for Ending {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison.set(format!("the writer of topic {} panicked", self.0.name));
        }
        self.0.queue.abandon();
        self.0.wake_all();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(storage("failed to start a thread"))
}

/// Takes the folder for this process.
fn lock(dir: &Path) -> Result<File, LogError> {
    let action = format!("failed to lock {}", dir.display());
    let open = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = open.map_err(storage(action.clone()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Storage {
            action: format!("another process uses the log in {}", dir.display()),
            source: io::ErrorKind::WouldBlock.into(),
        }),
        Err(TryLockError::Error(source)) => Err(LogError::Storage { action, source }),
    }
}

#[async_trait]
impl Log for LocalLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let (inner, spec) = (Arc::clone(&self.inner), spec.clone());
        blocking(move || inner.ensure_topic(&spec)).await
    }

    async fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), LogError> {
        let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
        blocking(move || inner.grow_topic(&topic, partitions)).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.topic(topic)?.append(records).await
    }

    async fn watermarks(&self, topic: &str, partition: Partition) -> Result<OffsetRange, LogError> {
        self.topic(topic)?.watermarks(partition)
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        let topic = self.topic(topic)?;
        topic.check_partition(partition)?;
        Ok(Box::new(LocalReader::new(topic, partition, from)))
    }

    async fn join(&self, topic: &str, group: &str) -> Result<Box<dyn Membership>, LogError> {
        self.inner.poison.check()?;
        let (topic, group) = (self.topic(topic)?, group.to_owned());
        let membership = blocking(move || LocalMembership::join(topic, &group)).await?;
        Ok(Box::new(membership))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let stopped = |source: tokio::task::JoinError| LogError::Unavailable {
        action: "work on the embedded log was stopped".into(),
        source: source.into(),
    };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}
