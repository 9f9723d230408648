//! A new file in `migrations/` must reach the binary without any other change.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
