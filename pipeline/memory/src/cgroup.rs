//! Memory limits of control groups, of both versions.
//! Owns: where this process's groups lie and which of their files hold a limit.
//! A group is limited by all groups above it, so the smallest limit on the way up counts.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The smallest memory limit of the groups that this process is in, by the files below `root`.
pub(crate) fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match controllers {
            "" => Version::Two,
            list if list.split(',').any(|controller| controller == "memory") => Version::One,
            _ => return None,
        };
        let mount = mounts.iter().find(|mount| mount.version == version)?;
        smallest(root, mount, path)
    });
    limits.min()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    const fn file(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }
}

/// Where groups are mounted.
struct Mount<'a> {
    version: Version,
    /// The group that the mount shows as its root.
    group: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// From a line of /proc/self/mountinfo; none if it is no mount of groups that limit memory.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (group, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, group, point })
    }
}

fn smallest(root: &Path, mount: &Mount<'_>, path: &str) -> Option<u64> {
    let inside = Path::new(path).strip_prefix(mount.group).unwrap_or(Path::new(""));
    // A process outside of the group that is mounted sees `/../…`: then the mount itself is all there is to read.
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    let inside = if plain { inside } else { Path::new("") };
    let point: PathBuf = root.join(mount.point.trim_start_matches('/'));
    let limits = inside.ancestors().filter_map(|group| {
        let text = fs::read_to_string(point.join(group).join(mount.version.file())).ok()?;
        text.trim().parse::<u64>().ok().filter(|bytes| *bytes > 0)
    });
    limits.min()
}
