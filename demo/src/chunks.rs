//! Sealed chunks for outsiders: those of the updates that were summed, in one flat directory, with the list of each update. Share blobs stay
//! where they are: nobody needs them to make a sum again.

use std::path::Path;

/// Copies the lists below `from`, a server's chunks, and every chunk that they name.
pub(crate) fn keep(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for dir in std::fs::read_dir(from)? {
        for file in std::fs::read_dir(dir?.path())? {
            let file = file?;
            let name = file.file_name();
            if Path::new(&name).extension().is_some_and(|e| e == "list") {
                let list = std::fs::read_to_string(file.path())?;
                for address in list.lines() {
                    let below = address.get(..2).unwrap_or_default();
                    std::fs::copy(from.join(below).join(address), to.join(address))?;
                }
                std::fs::write(to.join(name), list)?;
            }
        }
    }
    Ok(())
}
