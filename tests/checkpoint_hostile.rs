//! Damaged checkpoints are refused or opened, never a panic, and never an allocation larger than the file that asks for it.
//!
//! Every truncation and every single flipped bit of the config, the index and the safetensors header of a small checkpoint.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use perihelion::checkpoint::Checkpoint;
use perihelion::models::reason2::{GenerationConfig, Reason2Config};

#[global_allocator]
static ALLOCATOR: Watching = Watching;

thread_local! {
    static LARGEST_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// What one allocation may have beyond the file: the system's and the parser's own small buffers.
const SLACK_BYTES: usize = 4096;

struct Watching;

// SAFETY: every call goes unchanged to `System`; the note that is taken allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST_BYTES.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: our caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: our caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Opens the checkpoint and reads all that a model is built from; says whether all of it was good.
fn open_wholly(dir: &Path) -> bool {
    let Ok(checkpoint) = Checkpoint::open(dir) else { return false };
    let config = Reason2Config::parse(checkpoint.config());
    if let Ok(Some(file)) = checkpoint.json("generation_config.json") {
        let _ = GenerationConfig::parse(&file, 512);
    }
    let names: Vec<&str> = checkpoint.names().collect();
    let tensors = names.iter().filter(|name| {
        checkpoint.tensor(name).is_ok_and(|t| t.bytes.len() == t.len() * t.dtype.size_bytes())
    });
    tensors.count() == names.len() && config.is_ok()
}

/// Opens every damaged form of the file: each bit of its first `n_bytes` bytes flipped, then each cut within them. Returns how
/// many forms were refused.
fn damage(dir: &Path, name: &str, n_bytes: usize) -> usize {
    let path = dir.join(name);
    let good = fs::read(&path).expect("written a moment ago");
    // Changed in place: to write thousands of whole files anew is slow on some file systems.
    let file = fs::OpenOptions::new().write(true).open(&path).expect("written a moment ago");
    let mut n_refused = 0;
    let mut open = |form: &dyn Fn() -> String| {
        LARGEST_BYTES.set(0);
        n_refused += usize::from(!open_wholly(dir));
        let largest = LARGEST_BYTES.get();
        assert!(largest <= good.len() + SLACK_BYTES, "{name}, {}: allocated {largest} bytes at once", form());
    };
    for bit in 0..n_bytes * 8 {
        let at = bit / 8;
        file.write_all_at(&[good[at] ^ (1 << (bit % 8))], at as u64).expect("writes");
        open(&|| format!("bit {bit} flipped"));
        file.write_all_at(&good[at..=at], at as u64).expect("writes");
    }
    for n in (0..n_bytes).rev() {
        file.set_len(n as u64).expect("cuts");
        open(&|| format!("cut to {n} bytes"));
    }
    file.write_all_at(&good, 0).expect("writes");
    assert!(open_wholly(dir), "{name}: the undamaged checkpoint must open");
    n_refused
}

const CONFIG: &str = r#"{"model_type":"qwen3_vl","tie_word_embeddings":true,"image_token_id":8,"video_token_id":9,
"vision_start_token_id":5,"vision_end_token_id":6,"text_config":{"head_dim":8,"hidden_size":16,"intermediate_size":24,
"num_attention_heads":2,"num_hidden_layers":2,"num_key_value_heads":1,"rms_norm_eps":1e-6,"vocab_size":32,
"rope_parameters":{"mrope_section":[2,1,1],"rope_theta":1e5,"rope_type":"default"}},"vision_config":{
"deepstack_visual_indexes":[0],"depth":2,"hidden_size":16,"intermediate_size":24,"num_heads":2,
"num_position_embeddings":16,"out_hidden_size":16,"patch_size":8}}"#;

/// A safetensors file with these f32 tensors of one extent.
fn weights(tensors: &[(&str, usize)]) -> Vec<u8> {
    let mut end = 0;
    let entries = tensors.iter().map(|(name, n)| {
        let begin = end;
        end += 4 * n;
        format!(r#""{name}":{{"dtype":"F32","shape":[{n}],"data_offsets":[{begin},{end}]}}"#)
    });
    let header = format!(r#"{{"__metadata__":{{"format":"pt"}},{}}}"#, entries.collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + end, 0x3c);
    file
}

fn header_bytes(file: &Path) -> usize {
    let bytes = fs::read(file).expect("written a moment ago");
    8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize
}

#[test]
fn one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("writes");
    let generation = r#"{"do_sample":true,"eos_token_id":[4,2],"temperature":0.7,"top_k":20,"top_p":0.8}"#;
    write("config.json", CONFIG.as_bytes());
    write("generation_config.json", generation.as_bytes());
    write("model.safetensors", &weights(&[("lm_head.weight", 6), ("norm.weight", 3)]));

    let n_header = header_bytes(&dir.path().join("model.safetensors"));
    let n_refused = damage(dir.path(), "model.safetensors", n_header);
    // Every truncation, every flipped bit of the length and of the offsets; a flipped letter of a name makes another good name.
    assert!(n_header < n_refused);
    assert!(CONFIG.len() < damage(dir.path(), "config.json", CONFIG.len()));
    damage(dir.path(), "generation_config.json", generation.len());
}

#[test]
fn shards() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("writes");
    let index = r#"{"weight_map":{"lm_head.weight":"a.safetensors","norm.weight":"b.safetensors"}}"#;
    write("config.json", CONFIG.as_bytes());
    write("model.safetensors.index.json", index.as_bytes());
    write("a.safetensors", &weights(&[("lm_head.weight", 6)]));
    write("b.safetensors", &weights(&[("norm.weight", 3)]));

    assert!(index.len() < damage(dir.path(), "model.safetensors.index.json", index.len()));
    damage(dir.path(), "b.safetensors", header_bytes(&dir.path().join("b.safetensors")));
}
