//! What the screen shows: a box drawn with lines is a box, on the text console of a BIOS and on UEFI's picture.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

/// A picture in levels of brightness.
struct Picture {
    width: usize,
    pixels: Vec<u32>,
}

impl Picture {
    /// A PNG as QEMU writes it: eight bits a colour, three colours.
    #[track_caller]
    fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        let word = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let (width, mut packed, mut at) = (word(16), Vec::new(), 8);
        assert_eq!(&file[24..26], [8, 2], "eight bits, three colours");
        while at < file.len() {
            let length = word(at);
            if &file[at + 4..at + 8] == b"IDAT" {
                packed.extend_from_slice(&file[at + 8..at + 8 + length]);
            }
            at += 12 + length;
        }
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
        let mut above = vec![0; width * 3];
        let mut pixels = Vec::new();
        for line in bytes.chunks(1 + width * 3) {
            let mut row = line[1..].to_vec();
            for at in 0..row.len() {
                let (left, corner) = if at < 3 { (0, 0) } else { (row[at - 3], above[at - 3]) };
                row[at] = row[at].wrapping_add(predicted(line[0], left, above[at], corner));
            }
            pixels.extend(row.chunks(3).map(|rgb| rgb.iter().map(|&level| u32::from(level)).sum::<u32>()));
            above = row;
        }
        Self { width, pixels }
    }

    /// The longest unbroken stretch of lit points along each line of points, where `across` turns the picture round.
    fn longest(&self, across: bool) -> usize {
        let (width, height) = (self.width, self.pixels.len() / self.width);
        let lit = |line: usize, at: usize| {
            let at = if across { at * width + line } else { line * width + at };
            self.pixels[at] > 300
        };
        let (lines, length) = if across { (width, height) } else { (height, width) };
        let longest = |line: usize| {
            let (mut best, mut now) = (0, 0);
            for at in 0..length {
                now = if lit(line, at) { now + 1 } else { 0 };
                best = best.max(now);
            }
            best
        };
        (0..lines).map(longest).max().unwrap_or(0)
    }
}

/// PNG's five filters.
fn predicted(filter: u8, left: u8, above: u8, corner: u8) -> u8 {
    match filter {
        0 => 0,
        1 => left,
        2 => above,
        3 => u8::midpoint(left, above),
        4 => {
            let sum = i16::from(left) + i16::from(above) - i16::from(corner);
            let far = |from: u8| (sum - i16::from(from)).abs();
            if far(left) <= far(above) && far(left) <= far(corner) {
                left
            } else if far(above) <= far(corner) {
                above
            } else {
                corner
            }
        }
        other => panic!("PNG has no filter {other}"),
    }
}

/// A hook that prints words, and then a box of 60 columns and 10 rows.
const HOOK: &str = r#"line() { printf "$1"; for i in $(seq 58); do printf "$2"; done; printf "$3\n"; }
h='\342\224\200' v='\342\224\202'
echo the box comes
sleep 10
line '\342\224\214' $h '\342\224\220'
for n in 1 2 3 4 5 6 7 8; do line $v . $v; done
line '\342\224\224' $h '\342\224\230'
echo the box is there
sleep 30
"#;

/// The longest lines, along and down, of the screen before a box is drawn on it and after that.
#[track_caller]
fn a_box(image: &Path, options: &[&str]) -> [(usize, usize); 2] {
    let folder = tempfile::tempdir().unwrap();
    let stick = Stick::new(&folder.path().join("stick.img"), "DEBLAST");
    stick.configure("mode = \"batch\"\noptions = \"list\"\n[hooks]\nbefore = \"box.sh\"\n");
    stick.put("box.sh", HOOK.as_bytes());
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name).with_extension("png"));
    let script = format!(
        "expect DEBLAST READY\n\
         expect the box comes\n\
         sleep 2\n\
         screendump {}\n\
         expect the box is there\n\
         sleep 2\n\
         screendump {}\n\
         quit\n",
        before.display(),
        after.display()
    );
    Machine::new(image, options).with("--stick", &stick.path).runs(&script);
    if let Some(kept) = std::env::var_os("DEBLAST_SCREENS") {
        let name = options.join("-").replace("--", "");
        fs::copy(&after, Path::new(&kept).join(format!("box-{name}.png"))).unwrap();
    }
    [before, after].map(|path| {
        let picture = Picture::read(&path);
        (picture.longest(false), picture.longest(true))
    })
}

#[test]
fn box_drawing_shows_on_the_screen_of_bios_and_uefi() {
    let Some(image) = image_for_long("the screen") else { return };
    for options in [&["--cpu", "pentium3"][..], &["--firmware", "uefi64"]] {
        let [before, after] = a_box(&image, options);
        assert!(
            before.0 < 60 && before.1 < 40,
            "{options:?}: text alone has no long lines, found {before:?}"
        );
        // 60 columns of 8 points or more, 10 rows of 16, less half a cell at each end
        assert!(after.0 >= 59 * 8 && after.1 >= 9 * 16, "{options:?}: unbroken lines, found {after:?}");
    }
}
