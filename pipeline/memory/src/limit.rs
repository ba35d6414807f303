//! How much memory this process may take: a setting, else the container's limit, else the machine's memory.
//! Owns: the order in which these are asked. Does not own: how cgroups lay out their files (`cgroup`).

use std::fmt;
use std::fs;
use std::path::Path;

use vivace_model::ByteSize;

use crate::cgroup;

/// Taken where nothing tells how much memory there is.
const UNKNOWN: ByteSize = ByteSize::gib(2);

/// Who set the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// `VIVACE_MEMORY_LIMIT`.
    Setting,
    /// A control group: what a container runtime or systemd sets.
    Cgroup,
    /// Nobody: the machine has no more.
    Machine,
    /// Nobody, and the machine does not tell how much it has.
    Assumed,
}

impl LimitSource {
    /// For logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Cgroup => "cgroup",
            Self::Machine => "machine",
            Self::Assumed => "assumed",
        }
    }
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The memory that a process may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How much.
    pub bytes: ByteSize,
    /// Who says so.
    pub source: LimitSource,
}

impl Limit {
    /// The limit by `setting`, or by what the files below `root` (`/`, but for tests) say where that is 0.
    #[must_use]
    pub fn detect(setting: ByteSize, root: &Path) -> Self {
        if setting.0 > 0 {
            return Self { bytes: setting, source: LimitSource::Setting };
        }
        let machine = machine_bytes(root);
        match (cgroup::limit(root), machine) {
            // A limit above what the machine has is none.
            (Some(group), machine) if machine.is_none_or(|machine| group < machine) => {
                Self { bytes: ByteSize(group), source: LimitSource::Cgroup }
            }
            (_, Some(machine)) => Self { bytes: ByteSize(machine), source: LimitSource::Machine },
            (_, None) => Self { bytes: UNKNOWN, source: LimitSource::Assumed },
        }
    }
}

fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        4194304 kB\nMemFree: 1 kB\n");

    fn detected(list: &[(&str, &str)]) -> (u64, LimitSource) {
        let root = files(list);
        let limit = Limit::detect(ByteSize(0), root.path());
        (limit.bytes.0, limit.source)
    }

    #[test]
    fn a_setting_goes_before_all() {
        let root = files(&[MEMINFO]);
        let limit = Limit::detect(ByteSize::mib(700), root.path());
        assert_eq!(limit, Limit { bytes: ByteSize::mib(700), source: LimitSource::Setting });
    }

    #[test]
    fn without_a_group_the_machine_counts_and_without_files_some_is_assumed() {
        assert_eq!(detected(&[MEMINFO]), (4 << 30, LimitSource::Machine));
        assert_eq!(detected(&[]), (2 << 30, LimitSource::Assumed));
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts_in_version_2() {
        let mount = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let list = [
            MEMINFO,
            ("proc/self/cgroup", "0::/kubepods/pod1/container\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/kubepods/pod1/container/memory.max", "max\n"),
            ("sys/fs/cgroup/kubepods/pod1/memory.max", "629145600\n"),
            ("sys/fs/cgroup/kubepods/memory.max", "1073741824\n"),
        ];
        assert_eq!(detected(&list), (629_145_600, LimitSource::Cgroup));
    }

    #[test]
    fn in_a_container_of_its_own_the_mount_is_the_group() {
        let mount = "30 20 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let list = [
            MEMINFO,
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/memory.max", "419430400\n"),
        ];
        assert_eq!(detected(&list), (400 << 20, LimitSource::Cgroup));
    }

    #[test]
    fn version_1_is_read_where_it_is_mounted() {
        let mount = "31 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let limit = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        let list = [
            MEMINFO,
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n"),
            ("proc/self/mountinfo", mount),
            (limit, "524288000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(detected(&list), (500 << 20, LimitSource::Cgroup));
        let without = list.into_iter().filter(|(path, _)| *path != limit).collect::<Vec<_>>();
        assert_eq!(detected(&without), (4 << 30, LimitSource::Machine), "9 EiB is no limit");
    }

    #[test]
    fn a_mount_that_shows_only_our_group_is_understood() {
        // Docker with version 1: the path in /proc/self/cgroup is the host's, and the mount starts there.
        let mount = "31 20 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let list = [
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/docker/abc\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "734003200\n"),
        ];
        assert_eq!(detected(&list), (700 << 20, LimitSource::Cgroup));
    }

    #[test]
    fn files_that_are_not_understood_are_no_limit() {
        let mount = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\ngarbage\n";
        let list = [
            MEMINFO,
            ("proc/self/cgroup", "0::/../../etc\nnonsense\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/memory.max", "lots\n"),
        ];
        assert_eq!(detected(&list), (4 << 30, LimitSource::Machine));
    }
}
