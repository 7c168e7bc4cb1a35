//! Which disks are begun, and what their rows say: over a fake sysfs, whose disks have no nodes. What becomes of real ones is
//! seen in the virtual machine.

use std::fs;
use std::path::Path;

use super::*;
use crate::cleanup::ledger::Places;
use crate::policy::Policy;
use crate::store::Store;
use crate::threat::Signatures;

struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/self")).unwrap();
        fs::write(folder.path().join("proc/self/mountinfo"), "27 1 8:1 / / rw - ext4 /dev/root rw\n")
            .unwrap();
        fs::write(folder.path().join("proc/swaps"), "Filename\n").unwrap();
        fs::create_dir_all(folder.path().join("sys/class/block")).unwrap();
        Self { folder }
    }

    /// A disk at a port of USB; the same as the kernel shows one.
    fn plug(&self, name: &str, port: &str, sequence: u32, dev: &str) {
        let device = format!(
            "sys/devices/pci0000:00/0000:00:14.0/usb1/{port}/{port}:1.0/host6/target6:0:0/6:0:0:0/block/{name}"
        );
        let device = self.folder.path().join(device);
        fs::create_dir_all(device.join("device")).unwrap();
        for (file, text) in [
            ("size", "78165360"),
            ("dev", dev),
            ("diskseq", &sequence.to_string()),
            ("device/model", "ST340014A"),
        ] {
            fs::write(device.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink(device, self.folder.path().join("sys/class/block").join(name)).unwrap();
    }

    fn pull(&self, name: &str) {
        let link = self.folder.path().join("sys/class/block").join(name);
        fs::remove_dir_all(fs::read_link(&link).unwrap()).unwrap();
        fs::remove_file(link).unwrap();
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn bench(&self, jobs: Option<usize>) -> Result<Bench> {
        let settings = Settings {
            signatures: Arc::new(Signatures::builtin().unwrap()),
            policy: Policy::default(),
            targets: Vec::new(),
            store: Store::at(self.store()),
            store_named: true,
            dry_run: false,
            options: serde_json::Value::Null,
            clock: jiff::Timestamp::now,
            stop: || false,
        };
        let places = Places {
            reports: Some(self.folder.path().join("reports")),
            log: Some(self.folder.path().join("log")),
            landmarks: None,
        };
        let ledger = Ledger::of_bench(&places, &Machine::default(), settings.clock).unwrap();
        let roots = Roots { sys: self.folder.path().join("sys"), proc: self.folder.path().join("proc") };
        Bench::over(roots, settings, Machine::default(), ledger, jobs)
    }

    fn reports(&self) -> Vec<String> {
        crate::volume::names_in(&self.folder.path().join("reports"))
    }
}

/// Lets it work until no disk is worked on and none waits.
fn settle(bench: &mut Bench) {
    bench.looked = None;
    for _ in 0..200 {
        bench.wait(Duration::from_millis(50)).unwrap();
        if bench.at_work() == 0 && bench.rows().iter().all(|row| row.step != Step::Waits) {
            return;
        }
    }
    panic!("it never ends: {:?}", bench.rows());
}

#[test]
fn a_disk_that_appears_has_a_row_by_its_socket() {
    let fake = Fake::new();
    fake.plug("sdya", "1-1", 1, "65:1");
    let mut bench = fake.bench(None).unwrap();
    // As where those that are there are left alone.
    bench.there = plugged(&bench.roots).unwrap().iter().map(key).collect();
    settle(&mut bench);
    assert!(bench.rows().is_empty(), "{:?}", bench.rows());

    fake.plug("sdyb", "1-2.3", 2, "65:2");
    settle(&mut bench);
    let row = &bench.rows()[0];
    assert_eq!((row.slot, row.disk.socket.as_str(), row.step), (1, "usb 1-2.3", Step::Over));
    // It has no node: nothing could be read, which is for a person, and no disk was harmed.
    assert_eq!((row.mark, row.exit_code), (Some(Mark::Look), 2));
    assert!(row.words.contains("/dev/sdyb"), "{}", row.words);
    assert_eq!(fake.reports().len(), 3, "{:?}", fake.reports());
    let log = fs::read_to_string(fake.folder.path().join("log")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["event"].as_str(), last["verdict"].as_str()),
        (Some("over"), Some("undetermined")),
        "{log}"
    );

    // Pulled when it is over: the row stays; another disk in the same socket takes it.
    fake.pull("sdyb");
    settle(&mut bench);
    assert!(
        !bench.rows()[0].is_there && !bench.rows()[0].was_pulled && bench.rows()[0].mark == Some(Mark::Look)
    );
    fake.plug("sdyb", "1-2.3", 3, "65:2");
    fake.plug("sdyc", "1-4", 4, "65:3");
    settle(&mut bench);
    let slots: Vec<_> = bench.rows().iter().map(|row| (row.slot, row.disk.sequence)).collect();
    assert_eq!(slots, [(1, Some(3)), (2, Some(4))]);
    assert_eq!(bench.exit_code(), 2);
}

#[test]
fn what_is_in_use_is_left_alone_and_says_so() {
    let fake = Fake::new();
    let mut bench = fake.bench(None).unwrap();
    fs::write(
        fake.folder.path().join("proc/self/mountinfo"),
        "30 1 65:2 / /media/x rw - ext4 /dev/sdyb rw\n",
    )
    .unwrap();
    fake.plug("sdyb", "1-2", 2, "65:2");
    settle(&mut bench);
    let row = &bench.rows()[0];
    assert_eq!((row.step, row.mark), (Step::LeftAlone, None));
    assert!(row.words.contains("mounted at /media/x"), "{}", row.words);
    assert!(fake.reports().is_empty());
}

/// Without a store that can be written none is begun, be it at the start or later.
#[test]
fn without_a_store_no_disk_is_begun() {
    let fake = Fake::new();
    fs::write(fake.store(), "a file").unwrap();
    assert!(fake.bench(None).is_err());
    fs::remove_file(fake.store()).unwrap();

    let mut bench = fake.bench(Some(1)).unwrap();
    fs::remove_dir(fake.store()).unwrap();
    fs::write(fake.store(), "a file").unwrap();
    fake.plug("sdya", "1-1", 1, "65:1");
    fake.plug("sdyb", "1-2", 2, "65:2");
    settle(&mut bench);
    let [first, second] = bench.rows() else { panic!("{:?}", bench.rows()) };
    assert_eq!((first.mark, first.exit_code), (Some(Mark::Look), 2), "{first:?}");
    assert_eq!(second.step, Step::LeftAlone);
    assert!(second.words.contains("the record cannot be written"), "{}", second.words);
    assert!(bench.closed().is_some());
    fake.plug("sdyc", "1-3", 3, "65:3");
    settle(&mut bench);
    assert_eq!(bench.rows()[2].step, Step::LeftAlone);
}

/// Each tries the store at the same time as the others, and none is in the way of another.
#[test]
fn many_disks_that_are_plugged_in_together_are_all_begun() {
    let fake = Fake::new();
    let mut bench = fake.bench(Some(8)).unwrap();
    for round in 0..3 {
        for number in 1..=8 {
            let name = format!("sdy{}", char::from(b'a' + u8::try_from(number).unwrap()));
            fake.plug(&name, &format!("1-{number}"), round * 8 + number, &format!("65:{number}"));
        }
        settle(&mut bench);
        assert_eq!(bench.closed(), None);
        assert!(bench.rows().len() == 8 && bench.rows().iter().all(|row| row.mark == Some(Mark::Look)));
        for number in 1..=8_u8 {
            fake.pull(&format!("sdy{}", char::from(b'a' + number)));
        }
        settle(&mut bench);
    }
    assert_eq!(fake.reports().len(), 3 * 8 * 3, "none overwritten");
}

fn disk() -> Plugged {
    Plugged {
        path: "/dev/sdyb".into(),
        sequence: Some(1),
        socket: "usb 1-2".to_owned(),
        size: 1 << 30,
        model: Some("ST340014A".to_owned()),
        serial: None,
        in_use: None,
    }
}

#[test]
fn a_row_follows_what_happens() {
    let mut row = Row::new(1, 1, disk());
    row.begin();
    let mut hear = |event: Event, at: u64| {
        row.hear(&event, Duration::from_secs(at));
        (row.step, row.progress.is_some())
    };
    assert_eq!(hear(Event::Target { path: "/dev/sdyb".into(), size: 1 << 30 }, 0), (Step::Looks, false));
    assert_eq!(hear(Event::Progress { what: "reading", done: 1, total: 9 }, 1), (Step::Looks, true));
    let install = Event::Install { root: "\\WINDOWS".to_owned(), product: "Windows XP".to_owned() };
    hear(install.clone(), 1);
    assert_eq!(hear(Event::StoreReady { folder: "/s/1".into() }, 2), (Step::Writes, false));
    assert_eq!(hear(Event::Target { path: "/dev/sdyb".into(), size: 1 << 30 }, 3), (Step::Verifies, false));
    hear(install, 3);
    assert_eq!(row.windows, ["Windows XP"]);
    assert!(Path::new("/dev/sdyb") == row.disk.path && row.pulled());
    assert_eq!(row.mark, Some(Mark::Fail));
}
