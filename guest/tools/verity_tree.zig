//! verity_tree DEVICE DATA_BLOCKS SALT: writes the hash tree of dm-verity behind the data, and prints its root hash.
//!
//! Container-Optimized OS has nothing that could: no veritysetup, no Python; and bash would start a process for every block.
//! This is Zig because its standard library has SHA-256 (no cryptography of our own), and because one compiler, which PyPI has,
//! makes small static programs for both architectures. `make guest-tools` does so, and gets the same bytes every time.
//!
//! DATA_BLOCKS is a number of blocks of 4,096 bytes, from the start of DEVICE (a file will do); SALT is hexadecimal. The
//! tree is that of `veritysetup format --no-superblock --format=0 --hash-offset=DATA_BLOCKS*4096`: SHA-256 of a block and,
//! behind it, the salt, as Chrome OS has it; the topmost level first. Documentation/admin-guide/device-mapper/verity.rst.
//! Nobody else may have the device open for himself: a mounted one is refused.
//!
//! What is wrong is said on standard error, and the exit code is 1.

const std = @import("std");
const linux = std.os.linux;
const Sha256 = std.crypto.hash.sha2.Sha256;

pub const panic = std.debug.no_panic;

const block_size = 4096;
const digests_in_block = block_size / Sha256.digest_length;
const most_levels = 9; // 128 ** 9 is more blocks than a device can have
const most_blocks = 1 << 50; // offsets in bytes stay positive
const read_at_once = 256; // blocks

const Level = struct {
    begin: u64 = 0, // its first block on the device
    written: u64 = 0,
    filled: usize = 0, // digests in `block`
    block: [block_size]u8 = undefined,
};

var file: i32 = 0;
var path: []const u8 = "";
var salt: []const u8 = "";
var salt_room: [256]u8 = undefined; // the kernel takes no longer one
var levels: [most_levels]Level = @splat(.{});
var used: usize = 0; // levels
var root: [Sha256.digest_length]u8 = undefined;
var data: [read_at_once * block_size]u8 align(block_size) = undefined;

pub fn main(init: std.process.Init.Minimal) u8 {
    const arguments = init.args.vector;
    if (arguments.len != 4) fail(&.{"usage: verity_tree DEVICE DATA_BLOCKS SALT"});
    path = std.mem.span(arguments[1]);
    const blocks = number(std.mem.span(arguments[2]));
    read_salt(std.mem.span(arguments[3]));

    const opened = linux.open(arguments[1], .{ .ACCMODE = .RDWR, .EXCL = true, .CLOEXEC = true }, 0);
    check(opened, "open");
    file = @intCast(opened);
    const end = place_levels(blocks);
    const size = linux.lseek(file, 0, linux.SEEK.END);
    check(size, "measure");
    if (size / block_size < end) {
        var have: [20]u8 = undefined;
        var need: [20]u8 = undefined;
        fail(&.{ path, " has ", decimal(&have, size), " bytes, and the data with its tree ", decimal(&need, end * block_size) });
    }

    var at: u64 = 0;
    while (at < blocks) {
        const count: usize = @intCast(@min(read_at_once, blocks - at));
        read_blocks(at, count);
        for (0..count) |index| {
            add(0, digest_of(data[index * block_size ..][0..block_size]));
        }
        at += count;
    }
    for (0..used) |level| {
        if (levels[level].filled > 0) flush(level);
    }
    check(linux.fsync(file), "write to");

    var line: [2 * root.len + 1]u8 = undefined;
    for (root, 0..) |byte, index| {
        line[2 * index] = "0123456789abcdef"[byte >> 4];
        line[2 * index + 1] = "0123456789abcdef"[byte & 15];
    }
    line[2 * root.len] = '\n';
    return if (linux.write(1, &line, line.len) == line.len) 0 else 1;
}

/// Says where each level is to be, the topmost first behind `blocks` of data, and returns the block behind them all.
fn place_levels(blocks: u64) u64 {
    var sizes: [most_levels]u64 = undefined;
    var size = blocks;
    while (size > 1) : (used += 1) {
        size = (size + digests_in_block - 1) / digests_in_block;
        sizes[used] = size;
    }
    var end = blocks;
    var level = used;
    while (level > 0) {
        level -= 1;
        levels[level].begin = end;
        end += sizes[level];
    }
    return end;
}

fn digest_of(block: *const [block_size]u8) [Sha256.digest_length]u8 {
    var hash = Sha256.init(.{});
    hash.update(block);
    hash.update(salt);
    return hash.finalResult();
}

/// Adds a digest to a level; one to the level above the topmost is the root.
fn add(level: usize, digest: [Sha256.digest_length]u8) void {
    if (level == used) {
        root = digest;
        return;
    }
    const here = &levels[level];
    here.block[here.filled * digest.len ..][0..digest.len].* = digest;
    here.filled += 1;
    if (here.filled == digests_in_block) flush(level);
}

/// Writes a level's block, with zeros where it has no digests, and adds its own digest to the next.
fn flush(level: usize) void {
    const here = &levels[level];
    @memset(here.block[here.filled * Sha256.digest_length ..], 0);
    write_block(here.begin + here.written, &here.block);
    here.written += 1;
    here.filled = 0;
    add(level + 1, digest_of(&here.block));
}

fn read_blocks(first: u64, count: usize) void {
    var done: usize = 0;
    while (done < count * block_size) {
        const got = linux.pread(file, data[done..].ptr, count * block_size - done, @intCast(first * block_size + done));
        if (linux.errno(got) == .INTR) continue;
        check(got, "read");
        if (got == 0) fail(&.{ path, " ends too early" });
        done += got;
    }
}

fn write_block(at: u64, block: *const [block_size]u8) void {
    var done: usize = 0;
    while (done < block_size) {
        const put = linux.pwrite(file, block[done..].ptr, block_size - done, @intCast(at * block_size + done));
        if (linux.errno(put) == .INTR) continue;
        check(put, "write to");
        if (put == 0) fail(&.{ "cannot write to ", path });
        done += put;
    }
}

fn number(text: []const u8) u64 {
    var value: u64 = 0;
    for (text) |digit| {
        if (digit < '0' or digit > '9' or value > most_blocks) fail(&.{ "not a number of blocks: ", text });
        value = 10 * value + (digit - '0');
    }
    if (value == 0 or value > most_blocks) fail(&.{ "not a number of blocks: ", text });
    return value;
}

fn read_salt(text: []const u8) void {
    if (text.len % 2 != 0 or text.len > 2 * salt_room.len) fail(&.{ "not a salt: ", text });
    for (text, 0..) |digit, index| {
        const nibble: u8 = switch (digit) {
            '0'...'9' => digit - '0',
            'a'...'f' => digit - 'a' + 10,
            'A'...'F' => digit - 'A' + 10,
            else => fail(&.{ "not a salt: ", text }),
        };
        salt_room[index / 2] = if (index % 2 == 0) nibble << 4 else salt_room[index / 2] | nibble;
    }
    salt = salt_room[0 .. text.len / 2];
}

fn decimal(room: *[20]u8, value: u64) []const u8 {
    var left = value;
    var begin = room.len;
    while (begin == room.len or left > 0) {
        begin -= 1;
        room[begin] = @intCast('0' + left % 10);
        left /= 10;
    }
    return room[begin..];
}

fn check(result: usize, what: []const u8) void {
    var code: [20]u8 = undefined;
    const failure = linux.errno(result);
    if (failure == .SUCCESS) return;
    const why: []const u8 = switch (failure) {
        .ACCES, .PERM => "permission denied",
        .BUSY => "it is in use",
        .IO => "input/output error",
        .NOENT => "there is no such file",
        .ROFS => "it is read-only",
        else => decimal(&code, @intFromEnum(failure)),
    };
    fail(&.{ "cannot ", what, " ", path, ": ", why });
}

fn fail(words: []const []const u8) noreturn {
    for (words) |word| _ = linux.write(2, word.ptr, word.len);
    _ = linux.write(2, "\n", 1);
    linux.exit_group(1);
}
