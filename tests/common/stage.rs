//! A stage below the real program: a file system of the tests, in memory and mounted by FUSE, that holds a disk image as
//! one file and a store beside it.
//!
//! It keeps one tape of every write, sync, create, rename, truncate and removal in the order in which they arrive; nothing is
//! held back by the kernel, for each file is opened for direct I/O. Any one call of any file can be made to fail, to be
//! done in part only, to be the last that works, or to be the moment at which a signal reaches the program: the call is
//! answered after the signal was sent, so that no test hangs on a sleep.
//!
//! FUSE, and the crate `fuser` for it, since below the real program there is no trait to put a fault behind: what is
//! tested is the binary with its own files, locks, loop devices and mounts. `fuser` mounts by itself, without libfuse.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]
#![allow(unreachable_pub, reason = "a module that each topic includes as its own")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing is remembered by the kernel: what the harness puts on the stage is there at once.
const FORGET: Duration = Duration::ZERO;
const ROOT: u64 = 1;
/// Room that the stage says it has, in blocks of 4 KiB.
const ROOM: u64 = 1 << 18;

/// What changed the stage, in the order in which it arrived. Nodes are numbers that are never used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Write {
        node: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        node: u64,
        size: u64,
    },
    /// A file or a folder was synced.
    Sync {
        node: u64,
    },
    Create {
        folder: u64,
        name: OsString,
        node: u64,
        is_folder: bool,
    },
    Remove {
        folder: u64,
        name: OsString,
    },
    Rename {
        folder: u64,
        name: OsString,
        to: u64,
        new: OsString,
    },
}

/// One call that a program has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: Kind,
    /// Below the stage's root.
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open,
    Read,
    List,
    Room,
    Create,
    Folder,
    Write,
    Truncate,
    Sync,
    Remove,
    Rename,
}

impl Kind {
    /// Whether it changes the stage, or has a change last.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List | Self::Room)
    }
}

/// What becomes of the call that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It fails so, once.
    Fails(i32),
    /// So does every later call of the same file, or of any file of the chosen ones.
    Vanishes(i32),
    /// It is done by half, and says so; the next of that file fails with this.
    Short(i32),
    /// The signal is sent to the caller before the call is done.
    Signal(Signal),
    /// It waits until [`Stage::let_go`].
    Waits,
}

/// Which call it is: the one numbered `nth` of those that `wanted` takes.
pub struct Fault {
    pub wanted: fn(&Call) -> bool,
    pub nth: usize,
    pub fate: Fate,
}

#[derive(Clone)]
enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
}

struct Inner {
    nodes: BTreeMap<u64, (u64, OsString, Body)>,
    next: u64,
    tape: Vec<Op>,
    calls: Vec<Call>,
    fault: Option<Fault>,
    met: usize,
    /// What every call that the fault wants is answered with, once it has struck.
    gone: Option<i32>,
    struck: Option<Call>,
    modes: BTreeMap<u64, u16>,
    /// A call waits to be let go.
    waiting: bool,
}

impl Inner {
    fn path(&self, node: u64) -> PathBuf {
        let mut parts = Vec::new();
        let mut at = node;
        while at != ROOT {
            let Some((parent, name, _)) = self.nodes.get(&at) else { break };
            parts.push(name.clone());
            at = *parent;
        }
        parts.iter().rev().collect()
    }

    fn child(&self, folder: u64, name: &OsStr) -> Option<u64> {
        match &self.nodes.get(&folder)?.2 {
            Body::Folder(entries) => entries.get(name).copied(),
            Body::File(_) => None,
        }
    }

    fn entries(&mut self, folder: u64) -> &mut BTreeMap<OsString, u64> {
        match &mut self.nodes.get_mut(&folder).unwrap().2 {
            Body::Folder(entries) => entries,
            Body::File(_) => panic!("no folder"),
        }
    }

    fn bytes(&mut self, node: u64) -> Option<&mut Vec<u8>> {
        match &mut self.nodes.get_mut(&node)?.2 {
            Body::File(bytes) => Some(bytes),
            Body::Folder(_) => None,
        }
    }

    fn make(&mut self, folder: u64, name: &OsStr, body: Body) -> u64 {
        let node = self.next;
        self.next += 1;
        self.nodes.insert(node, (folder, name.to_owned(), body));
        self.entries(folder).insert(name.to_owned(), node);
        node
    }

    fn attributes(&self, node: u64) -> Option<FileAttr> {
        let (kind, size) = match &self.nodes.get(&node)?.2 {
            Body::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Body::Folder(_) => (FileType::Directory, 0),
        };
        let moment = UNIX_EPOCH + Duration::from_secs(1_060_000_000);
        Some(FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: moment,
            mtime: moment,
            ctime: moment,
            crtime: moment,
            kind,
            perm: self.modes.get(&node).copied().unwrap_or(0o700),
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// What is to be done with a call.
enum Verdict {
    Do,
    Half,
    Fail(Errno),
}

struct Theatre(Arc<Mutex<Inner>>, Arc<Condvar>);

impl Theatre {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes a call, and strikes if it is the chosen one.
    fn meet(&self, request: &Request, kind: Kind, path: PathBuf) -> Verdict {
        let mut inner = self.lock();
        let call = Call { kind, path };
        inner.calls.push(call.clone());
        let Some(Fault { wanted, nth, fate }) = &inner.fault else { return Verdict::Do };
        let (nth, fate) = (*nth, *fate);
        if !wanted(&call) {
            return Verdict::Do;
        }
        if let Some(errno) = inner.gone {
            if !matches!(fate, Fate::Vanishes(_)) {
                inner.gone = None;
            }
            return Verdict::Fail(Errno::from_i32(errno));
        }
        inner.met += 1;
        if inner.met != nth + 1 {
            return Verdict::Do;
        }
        inner.struck = Some(call);
        match fate {
            Fate::Fails(errno) => Verdict::Fail(Errno::from_i32(errno)),
            Fate::Vanishes(errno) => {
                inner.gone = Some(errno);
                Verdict::Fail(Errno::from_i32(errno))
            }
            Fate::Short(errno) => {
                inner.gone = Some(errno);
                if kind == Kind::Write { Verdict::Half } else { Verdict::Fail(Errno::from_i32(errno)) }
            }
            Fate::Waits => {
                inner.waiting = true;
                self.1.notify_all();
                drop(self.1.wait_while(inner, |inner| inner.waiting).unwrap());
                Verdict::Do
            }
            Fate::Signal(signal) => {
                drop(inner);
                let pid = Pid::from_raw(i32::try_from(request.pid()).unwrap()).expect("a caller");
                kill_process(pid, signal).unwrap();
                Verdict::Do
            }
        }
    }

    fn path_in(&self, folder: INodeNo, name: &OsStr) -> PathBuf {
        self.lock().path(folder.0).join(name)
    }

    fn path(&self, node: INodeNo) -> PathBuf {
        self.lock().path(node.0)
    }
}

/// Leaves the method with the error that the fault asks for.
macro_rules! meet {
    ($self:ident, $request:ident, $kind:expr, $path:expr, $reply:ident) => {
        match $self.meet($request, $kind, $path) {
            Verdict::Do => false,
            Verdict::Half => true,
            Verdict::Fail(errno) => return $reply.error(errno),
        }
    };
}

impl Filesystem for Theatre {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inner = self.lock();
        match inner.child(parent.0, name).and_then(|node| inner.attributes(node)) {
            Some(attributes) => reply.entry(&FORGET, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.lock().attributes(node.0) {
            Some(attributes) => reply.attr(&FORGET, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(size) = size {
            meet!(self, request, Kind::Truncate, self.path(node), reply);
            let mut inner = self.lock();
            if let Some(bytes) = inner.bytes(node.0) {
                bytes.resize(usize::try_from(size).unwrap(), 0);
                inner.tape.push(Op::Truncate { node: node.0, size });
            }
        }
        let mut inner = self.lock();
        if let Some(mode) = mode {
            inner.modes.insert(node.0, u16::try_from(mode & 0o7777).unwrap());
        }
        match inner.attributes(node.0) {
            Some(attributes) => reply.attr(&FORGET, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        meet!(self, request, Kind::Folder, self.path_in(parent, name), reply);
        let mut inner = self.lock();
        if inner.child(parent.0, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let node = inner.make(parent.0, name, Body::Folder(BTreeMap::new()));
        inner.tape.push(Op::Create { folder: parent.0, name: name.to_owned(), node, is_folder: true });
        reply.entry(&FORGET, &inner.attributes(node).unwrap(), Generation(0));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        meet!(self, request, Kind::Create, self.path_in(parent, name), reply);
        let mut inner = self.lock();
        if inner.child(parent.0, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let node = inner.make(parent.0, name, Body::File(Vec::new()));
        inner.modes.insert(node, u16::try_from(mode & 0o7777).unwrap());
        inner.tape.push(Op::Create { folder: parent.0, name: name.to_owned(), node, is_folder: false });
        let attributes = inner.attributes(node).unwrap();
        reply.created(&FORGET, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        meet!(self, request, Kind::Remove, self.path_in(parent, name), reply);
        let mut inner = self.lock();
        if inner.entries(parent.0).remove(name).is_none() {
            return reply.error(Errno::ENOENT);
        }
        // Its node stays, for whoever has it open.
        inner.tape.push(Op::Remove { folder: parent.0, name: name.to_owned() });
        reply.ok();
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        meet!(self, request, Kind::Remove, self.path_in(parent, name), reply);
        let mut inner = self.lock();
        let Some(node) = inner.child(parent.0, name) else { return reply.error(Errno::ENOENT) };
        if !inner.entries(node).is_empty() {
            return reply.error(Errno::ENOTEMPTY);
        }
        inner.entries(parent.0).remove(name);
        inner.tape.push(Op::Remove { folder: parent.0, name: name.to_owned() });
        reply.ok();
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        meet!(self, request, Kind::Rename, self.path_in(parent, name), reply);
        let mut inner = self.lock();
        let Some(node) = inner.entries(parent.0).remove(name) else { return reply.error(Errno::ENOENT) };
        inner.entries(to.0).insert(new.to_owned(), node);
        if let Some(entry) = inner.nodes.get_mut(&node) {
            (entry.0, entry.1) = (to.0, new.to_owned());
        }
        let (name, new) = (name.to_owned(), new.to_owned());
        inner.tape.push(Op::Rename { folder: parent.0, name, to: to.0, new });
        reply.ok();
    }

    fn open(&self, request: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        meet!(self, request, Kind::Open, self.path(node), reply);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        meet!(self, request, Kind::Read, self.path(node), reply);
        let mut inner = self.lock();
        let Some(bytes) = inner.bytes(node.0) else { return reply.error(Errno::EISDIR) };
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let end = (start + size as usize).min(bytes.len());
        reply.data(&bytes[start..end]);
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let half = meet!(self, request, Kind::Write, self.path(node), reply);
        let data = if half { &data[..data.len() / 2] } else { data };
        let mut inner = self.lock();
        let Some(bytes) = inner.bytes(node.0) else { return reply.error(Errno::EISDIR) };
        let start = usize::try_from(offset).unwrap();
        if bytes.len() < start + data.len() {
            bytes.resize(start + data.len(), 0);
        }
        bytes[start..start + data.len()].copy_from_slice(data);
        inner.tape.push(Op::Write { node: node.0, offset, bytes: data.to_vec() });
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, request: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        meet!(self, request, Kind::Sync, self.path(node), reply);
        self.lock().tape.push(Op::Sync { node: node.0 });
        reply.ok();
    }

    fn opendir(&self, request: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        meet!(self, request, Kind::List, self.path(node), reply);
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut inner = self.lock();
        let entries: Vec<(OsString, u64)> =
            inner.entries(node.0).iter().map(|(name, node)| (name.clone(), *node)).collect();
        for (index, (name, node)) in entries.into_iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            let kind = inner.attributes(node).unwrap().kind;
            if reply.add(INodeNo(node), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        meet!(self, request, Kind::Sync, self.path(node), reply);
        self.lock().tape.push(Op::Sync { node: node.0 });
        reply.ok();
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        meet!(self, request, Kind::Room, self.path(node), reply);
        reply.statfs(ROOM, ROOM, ROOM, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}

/// Names of what lies on the stage from the beginning.
pub const DISK: &str = "disk.img";
pub const STORE: &str = "store";
pub const DISK_NODE: u64 = 2;
pub const STORE_NODE: u64 = 3;

/// See the module. Taken down when it is dropped.
pub struct Stage {
    session: Option<BackgroundSession>,
    point: tempfile::TempDir,
    inner: Arc<Mutex<Inner>>,
    turn: Arc<Condvar>,
}

impl Stage {
    /// A stage with a disk, and with a store that holds these files and folders. None, with a word, where nothing can be
    /// mounted.
    pub fn with(disk: Vec<u8>, store: &[(PathBuf, Option<Vec<u8>>)]) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() || !rustix::process::getuid().is_root() {
            crate::skip("only root with /dev/fuse can mount the stage");
            return None;
        }
        let mut inner = Inner {
            nodes: BTreeMap::new(),
            next: DISK_NODE,
            tape: Vec::new(),
            calls: Vec::new(),
            fault: None,
            met: 0,
            gone: None,
            struck: None,
            modes: BTreeMap::new(),
            waiting: false,
        };
        inner.nodes.insert(ROOT, (ROOT, OsString::new(), Body::Folder(BTreeMap::new())));
        assert_eq!(inner.make(ROOT, OsStr::new(DISK), Body::File(disk)), DISK_NODE);
        assert_eq!(inner.make(ROOT, OsStr::new(STORE), Body::Folder(BTreeMap::new())), STORE_NODE);
        for (path, bytes) in store {
            let mut folder = STORE_NODE;
            for part in path.parent().unwrap() {
                folder = inner.child(folder, part).unwrap();
            }
            let body = bytes.clone().map_or_else(|| Body::Folder(BTreeMap::new()), Body::File);
            inner.make(folder, path.file_name().unwrap(), body);
        }
        let inner = Arc::new(Mutex::new(inner));
        let point = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("deblast-stage".to_owned()), MountOption::RW];
        // One call may wait while others are answered.
        config.n_threads = Some(2);
        let turn = Arc::new(Condvar::new());
        let session = fuser::spawn_mount(Theatre(inner.clone(), turn.clone()), point.path(), &config);
        match session {
            Ok(session) => Some(Self { session: Some(session), point, inner, turn }),
            Err(error) => {
                crate::skip(&format!("the stage cannot be mounted here: {error}"));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn disk(&self) -> PathBuf {
        self.point.path().join(DISK)
    }

    pub fn store(&self) -> PathBuf {
        self.point.path().join(STORE)
    }

    /// The disk's bytes as they are now.
    pub fn disk_bytes(&self) -> Vec<u8> {
        self.lock().bytes(DISK_NODE).unwrap().clone()
    }

    /// All that lies in the store now.
    pub fn store_files(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        fn add(inner: &Inner, folder: u64, at: &Path, files: &mut Vec<(PathBuf, Option<Vec<u8>>)>) {
            let Body::Folder(entries) = &inner.nodes[&folder].2 else { return };
            for (name, node) in entries {
                let path = at.join(name);
                match &inner.nodes[node].2 {
                    Body::File(bytes) => files.push((path, Some(bytes.clone()))),
                    Body::Folder(_) => {
                        files.push((path.clone(), None));
                        add(inner, *node, &path, files);
                    }
                }
            }
        }
        let mut files = Vec::new();
        add(&self.lock(), STORE_NODE, Path::new(""), &mut files);
        files
    }

    /// The tape so far; it begins anew.
    pub fn take_tape(&self) -> Vec<Op> {
        std::mem::take(&mut self.lock().tape)
    }

    /// The calls so far; they are counted anew.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Has a call meet its fate.
    pub fn arm(&self, fault: Fault) {
        let mut inner = self.lock();
        (inner.fault, inner.met, inner.gone, inner.struck) = (Some(fault), 0, None, None);
    }

    /// Waits until a call waits: see [`Fate::Waits`].
    pub fn wait(&self) {
        let patience = Duration::from_secs(120);
        let (_inner, late) =
            self.turn.wait_timeout_while(self.lock(), patience, |inner| !inner.waiting).unwrap();
        assert!(!late.timed_out(), "no call came to wait");
    }

    /// Has the call that waits go on.
    pub fn let_go(&self) {
        self.lock().waiting = false;
        self.turn.notify_all();
    }

    /// All works again; the call that was struck, if one was.
    pub fn disarm(&self) -> Option<Call> {
        let mut inner = self.lock();
        (inner.fault, inner.gone) = (None, None);
        inner.struck.take()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.let_go();
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}
