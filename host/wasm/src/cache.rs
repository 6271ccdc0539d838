//! Compiled modules in a folder. A file of it is machine code that runs without the sandbox, so only files are used that nobody else can have written:
//! folder and file belong to the user of this process, no one else may write to them, and the file has the hash that it had when it was written.

use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A hash at the beginning of each file, of what follows.
const HASH: usize = 32;

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// The name of a compiled module: of the module, and of what it was compiled with and how.
pub(crate) fn key(module: &[u8], how: u64) -> String {
    let mut name = String::new();
    for byte in Sha256::digest(module) {
        name += &format!("{byte:02x}");
    }
    format!("{name}-{how:016x}")
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The compiled module, if it is there and nobody has changed it.
    pub(crate) fn find(&self, key: &str) -> Option<Vec<u8>> {
        if let Err(error) = self.check_folder() {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled modules are not kept");
            return None;
        }
        let file = self.folder.join(key);
        match read(&file) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a compiled module is not used, and compiled again");
                None
            }
        }
    }

    /// Keeps a compiled module. If that fails, it is compiled again the next time.
    pub(crate) fn keep(&self, key: &str, code: &[u8]) {
        if self.check_folder().is_err() {
            return;
        }
        if let Err(error) = self.write(key, code) {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled module is not kept");
        }
    }

    fn check_folder(&self) -> io::Result<()> {
        if let Err(error) = DirBuilder::new().mode(0o700).create(&self.folder)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let found = fs::symlink_metadata(&self.folder)?;
        match found.is_dir() && is_ours(&found) && found.mode() & 0o077 == 0 {
            true => Ok(()),
            false => Err(io::Error::other("it is no folder of this user alone: give it the mode 0700")),
        }
    }

    fn write(&self, key: &str, code: &[u8]) -> io::Result<()> {
        // The name is that of one process, so that two hosts do not write to one file. Reading it again needs no lock, because it is renamed.
        let fresh = self.folder.join(format!(".{key}.{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        let written = file
            .write_all(&Sha256::digest(code))
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&fresh, self.folder.join(key)));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written
    }
}

fn is_ours(found: &fs::Metadata) -> bool {
    // SAFETY: it only answers a number.
    found.uid() == unsafe { libc::geteuid() }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file: File = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !is_ours(&found) || found.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other("others may have written it"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let changed = || io::Error::other("it was changed since it was written");
    let (hash, code) = bytes.split_first_chunk::<HASH>().ok_or_else(changed)?;
    match Sha256::digest(code)[..] == hash[..] {
        true => Ok(bytes.split_off(HASH)),
        false => Err(changed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_and_folders_of_others_are_not_used() {
        let scratch = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(scratch.path().join("modules"));
        let key = key(b"module", 7);
        assert_eq!(cache.find(&key), None);
        cache.keep(&key, b"code");
        assert_eq!(cache.find(&key).as_deref(), Some(&b"code"[..]));

        let file = cache.folder.join(&key);
        let mut bytes = fs::read(&file).expect("it is there");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&file, &bytes).expect("writable");
        assert_eq!(cache.find(&key), None, "it was changed");
        cache.keep(&key, b"code");
        assert!(cache.find(&key).is_some());

        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("ours");
        assert_eq!(cache.find(&key), None, "others may write it");
        cache.keep(&key, b"code");
        let link = cache.folder.join("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(cache.find("link"), None, "it is a link");

        fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(cache.find(&key), None, "others may use the folder");
    }
}
