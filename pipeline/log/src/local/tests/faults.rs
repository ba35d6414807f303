//! A disk that is full, or fails.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;

/// A disk of limited room that can be told to fail.
#[derive(Debug)]
struct FaultyDisk {
    room: AtomicI64,
    sync_fails: AtomicBool,
    cut_fails: AtomicBool,
}

impl FaultyDisk {
    fn new(room: i64) -> Arc<Self> {
        Arc::new(Self { room: room.into(), sync_fails: false.into(), cut_fails: false.into() })
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn fail_if(flag: &AtomicBool) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
}

impl Disk for FaultyDisk {
    /// Writes what there is room for, as a full disk does.
    fn write(&self, file: &File, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let room = usize::try_from(self.room.load(Ordering::SeqCst)).unwrap_or(0);
        let length = bytes.len().min(room);
        if length == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.room.fetch_sub(length as i64, Ordering::SeqCst);
        SystemDisk.write(file, &[IoSlice::new(&bytes[..length])])
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        fail_if(&self.sync_fails)?;
        SystemDisk.sync(file)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        fail_if(&self.cut_fails)?;
        let gained = file.metadata()?.len() - length;
        self.room.fetch_add(gained as i64, Ordering::SeqCst);
        SystemDisk.cut(file, length)
    }
}

async fn open_on(dir: &Path, disk: &Arc<FaultyDisk>) -> Arc<LocalLog> {
    let disk: Arc<dyn Disk> = Arc::<FaultyDisk>::clone(disk);
    let log = LocalLog::open_with(dir, config(), Arc::new(SystemClock), disk).unwrap();
    log.ensure_topic(&spec(1)).await.unwrap();
    log
}

fn code(result: Result<Offset, LogError>) -> Option<i32> {
    match result {
        Err(LogError::Storage { source, .. }) => source.raw_os_error(),
        other => panic!("the disk refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(10_000);
    let log = open_on(dir.path(), &disk).await;
    let mut stored = 0;
    while append(&log, record(0, stored, 900)).await.is_ok() {
        stored += 1;
    }
    assert_eq!(stored, 10);
    assert_eq!(code(append(&log, record(0, 0, 5000)).await), Some(ENOSPC));
    // Reads go on, and what is small enough still fits.
    assert_eq!(read(&log, ZERO, Offset(0)).await.unwrap().len(), stored);
    append(&log, record(0, stored, 100)).await.unwrap();
    disk.room.store(1 << 30, Ordering::SeqCst);
    for number in stored + 1..100 {
        assert_eq!(append(&log, record(0, number, 900)).await.unwrap(), Offset(number as u64));
    }
    drop(log);
    let log = open(dir.path());
    let records = read(&log, ZERO, Offset(0)).await.unwrap();
    for (number, read) in records.iter().enumerate() {
        assert!(read.value.ends_with(number.to_string().as_bytes()));
    }
    assert_eq!(records.len(), 100);
}

#[tokio::test]
async fn no_room_for_a_new_segment_heals_too() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(1 << 20);
    let log = open_on(dir.path(), &disk).await;
    for number in 0..16 {
        append(&log, record(0, number, 1000)).await.unwrap();
    }
    assert_eq!(segments(dir.path()).len(), 1);
    for room in [0, 10] {
        disk.room.store(room, Ordering::SeqCst);
        assert_eq!(code(append(&log, record(0, 16, 1000)).await), Some(ENOSPC));
    }
    disk.room.store(1 << 20, Ordering::SeqCst);
    assert_eq!(append(&log, record(0, 16, 1000)).await.unwrap(), Offset(16));
    assert_eq!(segments(dir.path()).len(), 2);
    drop(log);
    assert_eq!(read(&open(dir.path()), ZERO, Offset(0)).await.unwrap().len(), 17);
}

#[tokio::test]
async fn a_failed_sync_is_the_end() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(1 << 30);
    let log = open_on(dir.path(), &disk).await;
    append(&log, record(0, 0, 10)).await.unwrap();
    let mut waiting = log.read(TOPIC, ZERO, Offset(1)).await.unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    let (waited, appended) = tokio::join!(waiting.next(1), append(&log, record(0, 1, 10)));
    assert_eq!(code(appended), Some(EIO));
    assert!(waited.is_err(), "the record was never durable, so it is never read");
    disk.sync_fails.store(false, Ordering::SeqCst);
    for result in [
        append(&log, record(0, 1, 10)).await.map(drop),
        log.watermarks(TOPIC, ZERO).await.map(drop),
        log.ensure_topic(&spec(1)).await,
        log.join(TOPIC, "g").await.map(drop),
        read(&log, ZERO, Offset(0)).await.map(drop),
    ] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("failed to sync") && text.contains("restarted"), "{text}");
    }
    drop(log);
    // The write had happened, so it may be there after a restart; the first one has to be.
    let values = read(&open(dir.path()), ZERO, Offset(0)).await.unwrap();
    assert_eq!(values[0].value, record(0, 0, 10).value);
}

#[tokio::test]
async fn a_write_that_cannot_be_undone_is_the_end() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(1000);
    let log = open_on(dir.path(), &disk).await;
    disk.cut_fails.store(true, Ordering::SeqCst);
    assert_eq!(code(append(&log, record(0, 0, 2000)).await), Some(EIO));
    disk.room.store(1 << 30, Ordering::SeqCst);
    assert!(append(&log, record(0, 0, 10)).await.unwrap_err().to_string().contains("cut off"));
}

#[tokio::test]
async fn what_was_accepted_is_written_before_the_log_closes() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 1).await;
    let appends = (0..100).map(|number| append(&log, record(0, number, 1000)));
    let mut appends: Vec<_> = appends.map(Box::pin).collect();
    for append in &mut appends {
        // Polled once: queued, not answered; dropped then.
        assert!(futures::poll!(append).is_pending());
    }
    drop(appends);
    drop(log);
    assert_eq!(read(&open(dir.path()), ZERO, Offset(0)).await.unwrap().len(), 100);
}
