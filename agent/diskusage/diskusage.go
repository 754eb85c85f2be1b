// Package diskusage adds up what a folder takes of its disk.
package diskusage

// Usage is what is taken of a disk.
type Usage struct {
	Bytes, Inodes int64
}

// Add adds what something else takes.
func (u *Usage) Add(other Usage) {
	u.Bytes += other.Bytes
	u.Inodes += other.Inodes
}
