//! The place that a kernel writes to, of which each thread holds a handle.
//!
//! Threads that share a matrix product write interleaved columns of one buffer, so no `&mut [f32]` per thread can name
//! what is theirs. The promise that tasks do not overlap is made once, where a handle is made; after that a kernel
//! takes checked, exclusive slices of it in safe code.
//!
//! Why not `&[Cell<f32>]` or atomics: neither lets a row be written as whole vectors from safe code.
#![expect(unsafe_code, reason = "slices of a buffer that several threads write in disjoint parts")]

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// A buffer of f32 that a kernel writes, possibly along with other threads.
pub struct Out<'a> {
    start: NonNull<f32>,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a handle reaches only elements that `from_raw`'s caller has promised to it alone, as `&mut [f32]` would.
unsafe impl Send for Out<'_> {}

impl<'a> Out<'a> {
    /// A handle for the thread that owns the whole slice.
    pub fn new(slice: &'a mut [f32]) -> Out<'a> {
        Out { len: slice.len(), start: NonNull::from(slice).cast(), life: PhantomData }
    }

    /// A handle for one of several threads.
    ///
    /// # Safety
    /// `start` is aligned and `len` elements from it are initialised and live for `'a`. While `'a` lasts, every
    /// element that a kernel touches for the tasks it is given with this handle is touched by nobody else: each
    /// kernel says which elements a task touches, and different tasks of one call never share any.
    pub unsafe fn from_raw(start: NonNull<f32>, len: usize) -> Out<'a> {
        Out { start, len, life: PhantomData }
    }

    /// Elements of the whole buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where element `index` lies or, beyond the end, would lie: for fetching ahead only.
    #[inline(always)]
    pub(super) fn address(&self, index: usize) -> *const f32 {
        self.start.as_ptr().wrapping_add(index)
    }

    /// The elements of `range`, for as long as no other part is asked for.
    ///
    /// # Panics
    /// If `range` is not within the buffer.
    #[inline(always)]
    pub fn part(&mut self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a task writes within its buffer");
        // SAFETY: within the buffer as just checked; exclusive on this thread by `&mut self`, and among threads by
        // the promise of `from_raw`.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.end - range.start)
        }
    }
}
