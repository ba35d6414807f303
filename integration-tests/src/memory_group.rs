//! Groups of processes that share a limit of memory, as containers do.
//! Owns: making a control group by whichever version of them is mounted (1 or 2), putting a program into it before its first
//! instruction, what the kernel says of it, and removing it at drop.
//! Does not own: which limit a stage gets, what a limit proves (`tests/limits`).
//! Guarantee: a program that was started by [`MemoryGroup::command`] never allocates outside of the group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Enters the group `$0` and becomes the program that the other arguments name. Who is not root needs sudo for the first.
const ENTER: &str =
    r#"{ echo $$ > "$0"; } 2>/dev/null || sudo -n sh -c 'echo "$1" > "$0"' "$0" $$ || exit 125; exec "$@""#;

/// Which files a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A control group with a limit of memory. Needs the right to make one: as root, or by sudo without a password.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
    limit_bytes: u64,
}

impl MemoryGroup {
    /// Makes a group below the root of the groups that this process sees.
    ///
    /// # Errors
    /// When none are mounted, or it may not.
    pub fn create(name: &str, limit_bytes: u64) -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read what is mounted")?;
        let (root, version) = memory_root(&mounts, has_memory)
            .context("no memory control groups (version 1 or 2) are mounted here; limits cannot be tested")?;
        let folder = root.join(format!("vivace-test-{}-{name}", std::process::id()));
        let script = match version {
            // Version 1 counts swap by another limit, which not every kernel has.
            Version::V1 => {
                r#"mkdir -p "$1" && echo "$2" > "$1/memory.limit_in_bytes" &&
                { [ ! -e "$1/memory.memsw.limit_in_bytes" ] || echo "$2" > "$1/memory.memsw.limit_in_bytes"; }"#
            }
            Version::V2 => {
                r#"{ grep -qw memory "$1/../cgroup.subtree_control" || echo +memory > "$1/../cgroup.subtree_control"; } &&
                mkdir -p "$1" && echo "$2" > "$1/memory.max" &&
                { [ ! -e "$1/memory.swap.max" ] || echo 0 > "$1/memory.swap.max"; }"#
            }
        };
        privileged(script, &folder, &limit_bytes.to_string())
            .with_context(|| format!("cannot make the memory control group {}", folder.display()))?;
        let group = Self { folder, version, limit_bytes };
        group.peak_bytes()?;
        Ok(group)
    }

    /// What its processes may take together.
    #[must_use]
    pub const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Runs a program in the group: it is inside before the program begins, so that the program finds the limit where it
    /// looks for one.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER]).arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// The most that its processes took at any moment since it was made, with what the kernel took for them.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        let file = match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        let text = self.read(file).context("version 2 tells the peak since Linux 5.19")?;
        text.trim().parse().with_context(|| format!("{file} says {text:?}"))
    }

    /// The memory of the group now that no file is behind, and that so cannot be given up.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        let key = match self.version {
            Version::V1 => "total_rss",
            Version::V2 => "anon",
        };
        field(&self.read("memory.stat")?, key)
    }

    /// How many of its processes the kernel killed because the group had no memory left.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kills(&self) -> anyhow::Result<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        field(&self.read(file)?, "oom_kill")
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = privileged(r#"rmdir "$1""#, &self.folder, "") {
            eprintln!("cannot remove the memory control group {}: {error:#}", self.folder.display());
        }
    }
}

/// Where control groups of memory are made: version 1 where it has the controller of memory, else version 2.
fn memory_root(mounts: &str, has_memory: impl Fn(&Path) -> bool) -> Option<(PathBuf, Version)> {
    let mounted = |kind: &'static str| {
        mounts.lines().filter_map(move |line| {
            let mut fields = line.split(' ').skip(1);
            let (folder, type_name, options) = (fields.next()?, fields.next()?, fields.next()?);
            (type_name == kind).then_some((Path::new(folder), options))
        })
    };
    let first = mounted("cgroup").find(|(_, options)| options.split(',').any(|option| option == "memory"));
    if let Some((folder, _)) = first {
        return Some((folder.to_owned(), Version::V1));
    }
    let (folder, _) = mounted("cgroup2").find(|(folder, _)| has_memory(folder))?;
    Some((folder.to_owned(), Version::V2))
}

/// Whether groups of version 2 there may have limits of memory.
fn has_memory(root: &Path) -> bool {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "memory")
}

fn field(text: &str, key: &str) -> anyhow::Result<u64> {
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(' ')
            && name == key
        {
            return value.trim().parse().with_context(|| format!("{line:?} is no number"));
        }
    }
    bail!("no {key} in {text:?}")
}

/// Runs a script of the shell with a folder and a value, as this user or by sudo.
fn privileged(script: &str, folder: &Path, value: &str) -> anyhow::Result<()> {
    let attempt = |mut command: Command| {
        let output = command.args(["sh", "-c", script, "sh"]).arg(folder).arg(value).output();
        let output = output.context("cannot run it")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    };
    attempt(Command::new("env"))
        .or_else(|error| {
            let mut command = Command::new("sudo");
            command.arg("-n");
            attempt(command).map_err(|_| error)
        })
        .context("it needs root")
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
        cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate,memory_recursiveprot 0 0\n";

    #[test]
    fn groups_are_made_where_the_controller_of_memory_is() {
        let of = |mounts, controller| memory_root(mounts, |_| controller);
        assert_eq!(of(V1, false), Some(("/sys/fs/cgroup/memory".into(), Version::V1)));
        assert_eq!(of(V2, true), Some(("/sys/fs/cgroup".into(), Version::V2)));
        assert_eq!(of(V2, false), None, "version 2 without memory");
        assert_eq!(of("proc /proc proc rw 0 0\n", true), None);
    }

    #[test]
    fn fields_are_found_by_their_full_names() {
        let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 7\n";
        assert_eq!(field(events, "oom_kill").unwrap(), 1);
        assert!(field("oom_kill_disable 0\nunder_oom 0\n", "oom_kill").is_err());
    }

    #[test]
    #[ignore = "needs root and control groups"]
    fn who_takes_more_than_its_group_has_is_killed_and_counted() {
        let group = MemoryGroup::create("greedy", 24 << 20).expect("a group");
        let run = |script: &str| {
            let output = group.command(Path::new("sh")).args(["-c", script]).output().expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        // What the shell prints is where it is itself: inside from the start.
        let (code, own) = run("cat /proc/self/cgroup");
        assert_eq!(code, Some(0));
        assert!(own.contains("-greedy"), "{own}");
        assert_eq!(group.kills().unwrap(), 0);
        assert!(group.peak_bytes().unwrap() > 0);
        // 64 MiB in the memory of one process, which needs the end of what it cannot seek in.
        let (code, _) = run("head -c 67108864 /dev/zero | tail -c 67108864 > /dev/null");
        assert_ne!(code, Some(0), "it was killed");
        assert_eq!(group.kills().unwrap(), 1);
        assert!(group.peak_bytes().unwrap() > 20 << 20);
        assert!(group.anonymous_bytes().unwrap() < group.limit_bytes());
        let folder = group.folder.clone();
        drop(group);
        assert!(!folder.exists());
    }
}
