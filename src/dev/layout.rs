//! Where `iparking dev` keeps things: one folder, one lock, secrets made once.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::process::User;

/// `sockaddr_un` holds 108 bytes, the last of them a zero; `/.s.PGSQL.5432.lock` comes on top.
const SOCKET_FOLDER_BYTES_MAX: usize = 85;

/// The folders of one `iparking dev`.
pub(super) struct Layout {
    /// `<var>/dev`.
    pub(super) dev: PathBuf,
    /// The servers' data, owned by the user that they run as.
    pub(super) servers: PathBuf,
    /// Their sockets.
    pub(super) sockets: PathBuf,
    /// Held as long as we run.
    _lock: File,
}

impl Layout {
    /// Makes the folders and takes the lock.
    ///
    /// # Errors
    /// When another `iparking dev` runs on the same folder, or a folder cannot be made.
    pub(super) fn take(var: &Path, user: Option<User>) -> anyhow::Result<Self> {
        let dev = var.join("dev");
        std::fs::create_dir_all(&dev)
            .with_context(|| format!("cannot make the folder {}", dev.display()))?;
        // The way to the servers' data leads through here: others may pass, not look.
        std::fs::set_permissions(&dev, Permissions::from_mode(0o711))?;
        let dev = dev.canonicalize().context("cannot resolve the var folder")?;
        let lock = take_lock(&dev)?;
        remove_if_there(&dev.join("endpoints.env"))?;
        for folder in ["logs", "sandbox"] {
            make_private(&dev.join(folder))?;
        }
        let servers = servers_folder(&dev, user)?;
        let sockets = sockets_folder(&dev, &servers, user)?;
        Ok(Self { dev, servers, sockets, _lock: lock })
    }

    /// The log of a child.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dev.join("logs").join(format!("{name}.log"))
    }
}

fn take_lock(dev: &Path) -> anyhow::Result<File> {
    let path = dev.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "`iparking dev` already runs on {} (process {}). Stop it, or give this one another \
                 folder and other ports: IPARKING_VAR_DIR, IPARKING_API_PORT, IPARKING_SANDBOX_PORT",
                dev.display(),
                holder.trim()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the var folder"),
    }
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

/// The folder of the servers' data. A user that root lends the servers to may not be able to walk
/// there, because a clone under `/root` or a `mktemp -d` is closed to others; then it lies under
/// `/var/tmp`, with a link where one looks for it.
fn servers_folder(dev: &Path, user: Option<User>) -> anyhow::Result<PathBuf> {
    let wanted = dev.join("servers");
    if let Ok(target) = std::fs::read_link(&wanted) {
        own(&target, user)?;
        return Ok(target);
    }
    if user.is_none_or(|user| can_walk_to(dev, user)) {
        own(&wanted, user)?;
        return Ok(wanted);
    }
    if wanted.is_dir() {
        bail!("{} is closed to the user that runs the servers", wanted.display());
    }
    let elsewhere = PathBuf::from(format!("/var/tmp/iparking-{}", short_name(dev)));
    own(&elsewhere, user)?;
    std::os::unix::fs::symlink(&elsewhere, &wanted).context("cannot link the servers' folder")?;
    super::say(&format!(
        "{} is closed to other users, so the servers' data is in {}",
        dev.display(),
        elsewhere.display()
    ));
    Ok(elsewhere)
}

fn sockets_folder(dev: &Path, servers: &Path, user: Option<User>) -> anyhow::Result<PathBuf> {
    let wanted = servers.join("run");
    let folder = if wanted.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
        wanted
    } else {
        PathBuf::from(format!("/tmp/iparking-{}", short_name(dev)))
    };
    own(&folder, user)?;
    Ok(folder)
}

/// A name for a path that is too long to be one itself.
fn short_name(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(digest).chars().take(16).collect()
}

fn can_walk_to(dev: &Path, user: User) -> bool {
    dev.ancestors().all(|folder| {
        std::fs::metadata(folder).is_ok_and(|meta| {
            let mode = meta.mode();
            mode & 0o001 != 0 || (meta.uid() == user.uid && mode & 0o100 != 0)
        })
    })
}

/// Makes a folder that belongs to the given user alone. One that is there already must belong to
/// that user or to us: under `/tmp`, somebody else might have put it there.
fn own(folder: &Path, user: Option<User>) -> anyhow::Result<()> {
    make_private(folder)?;
    let meta = std::fs::symlink_metadata(folder)?;
    ensure!(meta.is_dir(), "{} is not a folder", folder.display());
    let ours = rustix::process::geteuid().as_raw();
    let Some(user) = user else {
        ensure!(meta.uid() == ours, "{} belongs to somebody else", folder.display());
        return Ok(());
    };
    ensure!(
        meta.uid() == ours || meta.uid() == user.uid,
        "{} belongs to somebody else",
        folder.display()
    );
    std::os::unix::fs::chown(folder, Some(user.uid), Some(user.gid))
        .with_context(|| format!("cannot hand over {}", folder.display()))
}

fn make_private(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Removes a file that may be missing.
pub(super) fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only we may read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    remove_if_there(&fresh)?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| format!("cannot write {}", fresh.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
}
