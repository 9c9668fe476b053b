//! Directories of real programs, copied for whoever looks at them. Knows no log and no world.

use std::path::Path;

/// Everything below `from`; sockets and other things that are no files stay where they are.
pub fn copy_all(from: &Path, to: &Path) {
    copy(from, to, &|_| true);
}

/// A log as an auditor gets it: without the server's own state, and without half-written files, which a running server is about to rename.
pub fn copy_log(from: &Path, to: &Path) {
    copy(from, to, &|name| name != ".state" && !name.ends_with(".tmp"));
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name());
        let target = to.join(&name);
        if !wanted(&name.to_string_lossy()) {
            continue;
        }
        if kind.is_dir() {
            copy(&entry.path(), &target, wanted);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
