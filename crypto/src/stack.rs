//! Wiping what moved secrets leave on the stack (crypto.md C72). Knows no secret.

use zeroize::Zeroize;

/// Deeper than the frames of anything here that handles secrets; the key encapsulation's are the largest.
const DEPTH: usize = 96 << 10;

/// Overwrites the stack below the caller.
///
/// # Security
/// `zeroize` wipes a value where it ends its life. A value that was moved, by us or by a cipher's own constructor, has left its former place
/// behind unwiped. Whoever has called such work calls this last, from a frame that is not deeper. It reaches neither registers nor frames
/// above the caller.
#[inline(never)]
pub fn scrub() {
    let mut room = [0u64; DEPTH / 8];
    room.zeroize();
    std::hint::black_box(&mut room);
}
