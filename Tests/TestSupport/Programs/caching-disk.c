// caching-disk MEDIUM CONTROL MOUNTPOINT: a file, MOUNTPOINT/disk.img, that behaves as a disk with a write cache. Writes stay in
// memory until fsync(2), which a loop device calls for a flush; only then they are copied to the file MEDIUM.
//
// CONTROL holds a number as text: the flushes that succeed from now on. Each later one fails with EIO, and what was written
// since the last that succeeded never reaches MEDIUM. Without the file all of them succeed.
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096 };

static const char *control;
static int medium;
static off_t size;
static char *cache;
static char *is_dirty;

static int get_attributes(const char *path, struct stat *attributes, struct fuse_file_info *file)
{
	(void)file;
	memset(attributes, 0, sizeof *attributes);
	if (strcmp(path, "/") == 0) {
		attributes->st_mode = S_IFDIR | 0755;
		attributes->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, "/disk.img") != 0)
		return -ENOENT;
	attributes->st_mode = S_IFREG | 0600;
	attributes->st_nlink = 1;
	attributes->st_size = size;
	return 0;
}

static int read_bytes(const char *path, char *bytes, size_t count, off_t offset, struct fuse_file_info *file)
{
	(void)path, (void)file;
	if (offset >= size)
		return 0;
	if (count > (size_t)(size - offset))
		count = size - offset;
	memcpy(bytes, cache + offset, count);
	return count;
}

static int write_bytes(const char *path, const char *bytes, size_t count, off_t offset, struct fuse_file_info *file)
{
	(void)path, (void)file;
	if (offset > size || count > (size_t)(size - offset))
		return -ENOSPC;
	if (count == 0)
		return 0;
	memcpy(cache + offset, bytes, count);
	memset(is_dirty + offset / BLOCK, 1, (offset + count - 1) / BLOCK - offset / BLOCK + 1);
	return count;
}

// Whether the flush that is under way succeeds.
static int flush_succeeds(void)
{
	FILE *file = fopen(control, "r+");
	if (file == NULL)
		return 1;
	long left = 0;
	int succeeds = fscanf(file, "%ld", &left) == 1 && left > 0;
	if (succeeds) {
		rewind(file);
		fprintf(file, "%ld\n", left - 1);
	}
	fclose(file);
	return succeeds;
}

static int flush(const char *path, int data_only, struct fuse_file_info *file)
{
	(void)path, (void)data_only, (void)file;
	if (!flush_succeeds())
		return -EIO;
	for (off_t block = 0; block < size / BLOCK; block++) {
		if (!is_dirty[block])
			continue;
		if (pwrite(medium, cache + block * BLOCK, BLOCK, block * BLOCK) != BLOCK)
			return -EIO;
		is_dirty[block] = 0;
	}
	return 0;
}

static int open_file(const char *path, struct fuse_file_info *file)
{
	(void)path, (void)file;
	return 0;
}

static const struct fuse_operations operations = {
	.getattr = get_attributes, .open = open_file, .read = read_bytes, .write = write_bytes, .fsync = flush,
};

int main(int argc, char **argv)
{
	struct stat attributes;
	if (argc != 4 || (medium = open(argv[1], O_RDWR)) < 0 || fstat(medium, &attributes) != 0) {
		perror(argc == 4 ? argv[1] : "usage: caching-disk MEDIUM CONTROL MOUNTPOINT");
		return 2;
	}
	control = argv[2];
	size = attributes.st_size / BLOCK * BLOCK;
	// Private: stores stay in memory.
	cache = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, medium, 0);
	is_dirty = calloc(size / BLOCK, 1);
	if (cache == MAP_FAILED || is_dirty == NULL) {
		perror("caching-disk");
		return 2;
	}
	char *arguments[] = {argv[0], "-f", "-s", argv[3], NULL};
	return fuse_main(4, arguments, &operations, NULL);
}
