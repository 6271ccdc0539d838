//! Generates random types and an interface, for the test that compares their manifest with what the compiler lays
//! out. `RESLOT_LAYOUT_SEED=N` makes others.

use std::{
    env,
    fmt::{self, Write as _},
    fs,
    path::Path,
};

const TYPES: usize = 48;
const SEED: u64 = 15;
const SCALARS: [&str; 13] = [
    "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "bool", "char", "usize",
];

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    /// A scalar, an earlier type, or an array of such.
    fn field(&mut self, earlier: usize) -> String {
        let plain = match self.below(3) {
            0 if earlier > 0 => format!("T{}", self.below(earlier)),
            _ => SCALARS[self.below(SCALARS.len())].to_owned(),
        };
        match self.below(4) {
            0 => format!("[{plain}; {}]", self.below(5)),
            1 if self.below(4) == 0 => format!("[[{plain}; {}]; {}]", self.below(3) + 1, self.below(3)),
            _ => plain,
        }
    }
}

fn main() {
    println!("cargo::rerun-if-env-changed=RESLOT_LAYOUT_SEED");
    println!("cargo::rerun-if-changed=build.rs");
    let seed = env::var("RESLOT_LAYOUT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(SEED);
    let out = env::var_os("OUT_DIR").expect("cargo names it");
    fs::write(Path::new(&out).join("layouts.rs"), generated(seed).expect("text")).expect("a file");
}

fn generated(seed: u64) -> Result<String, fmt::Error> {
    let mut random = Random(seed);
    let (mut types, mut expected) = (String::new(), String::new());
    writeln!(types, "pub const SEED: u64 = {seed};")?;
    for at in 0..TYPES {
        let mut parts = String::new();
        if random.below(5) == 0 {
            let repr = ["u8", "i8", "u16", "i32", "i64"][random.below(5)];
            let is_signed = repr.starts_with('i');
            let (mut body, mut next) = (String::new(), if is_signed { -100 } else { 0 });
            for variant in 0..=random.below(4) {
                next += 1 + random.below(30) as i64;
                writeln!(body, "V{variant} = {next},")?;
                writeln!(parts, "(\"V{variant}\", T{at}::V{variant} as i64),")?;
            }
            writeln!(types, "#[derive(Crossing)] #[repr({repr})] pub enum T{at} {{ {body} }}")?;
        } else {
            let mut body = String::new();
            for field in 0..random.below(7) {
                writeln!(body, "pub f{field}: {},", random.field(at))?;
                writeln!(parts, "(\"f{field}\", std::mem::offset_of!(T{at}, f{field}) as i64),")?;
            }
            let align = if random.below(6) == 0 { ", align(16)" } else { "" };
            writeln!(types, "#[derive(Crossing)] #[repr(C{align})] pub struct T{at} {{ {body} }}")?;
        }
        writeln!(
            expected,
            "(\"T{at}\", size_of::<T{at}>(), align_of::<T{at}>(), vec![{parts}]),"
        )?;
    }
    let mut methods = String::new();
    for at in 0..TYPES {
        let argument = match random.below(5) {
            0 => format!("T{at}"),
            1 => format!("&T{at}"),
            2 => format!("&mut T{at}"),
            3 => format!("&[T{at}]"),
            _ => format!("&mut [T{at}]"),
        };
        let other = random.below(TYPES);
        let answer = match random.below(6) {
            0 => String::new(),
            1 => format!("-> T{other}"),
            2 => format!("-> Vec<T{other}>"),
            3 => format!("-> Option<T{other}>"),
            4 => format!("-> Result<Vec<T{other}>, String>"),
            _ => format!("-> {}", SCALARS[random.below(SCALARS.len())]),
        };
        writeln!(methods, "fn m{at}(&self, one: {argument}, two: &str) {answer};")?;
    }
    writeln!(types, "#[interface] pub trait Generated {{ {methods} }}")?;
    writeln!(types, "pub fn expected() -> Vec<super::Layout> {{ vec![{expected}] }}")?;
    Ok(types)
}
