package cache

import (
	"slices"
	"strings"

	"github.com/google/btree"

	"navarch.dev/navarch/internal/kinds"
)

// present is the objects that there are at some revision, in the order of their
// keys and, for a kind with a WatchField, also by its value: of a hundred
// thousand pods those of one node are found without looking at the others.
type present struct {
	byKey *btree.BTreeG[*Version]
	// byValue has the same versions ordered by the value of the kind's
	// WatchField, and then by key; nil for a kind that has none.
	byValue *btree.BTreeG[*Version]
	// field is the WatchField's place among a version's fields.
	field int
	// byLabel are further indexes, made when they are wanted.
	byLabel []labelIndex
}

// degree is that of the trees: their nodes hold up to twice as many versions.
const degree = 32

func newPresent(kind *kinds.Kind) present {
	p := present{byKey: btree.NewG(degree, func(a, b *Version) bool { return a.Key < b.Key })}
	if i := slices.Index(kind.FieldNames, kind.WatchField); i >= 0 {
		p.field = i
		p.byValue = btree.NewG(degree, func(a, b *Version) bool {
			if c := strings.Compare(a.fields[i], b.fields[i]); c != 0 {
				return c < 0
			}
			return a.Key < b.Key
		})
	}
	return p
}

// clone returns a copy for one who reads it while the original changes, or who
// changes it. It costs little: the two share what neither changes.
func (p present) clone() present {
	p.byKey = p.byKey.Clone()
	if p.byValue != nil {
		p.byValue = p.byValue.Clone()
	}
	p.byLabel = slices.Clone(p.byLabel)
	for i := range p.byLabel {
		p.byLabel[i].items = p.byLabel[i].items.Clone()
	}
	return p
}

// put takes a version in and returns the one it replaces, nil for none.
func (p present) put(v *Version) *Version {
	prev, _ := p.byKey.ReplaceOrInsert(v)
	if p.byValue != nil {
		if prev != nil && prev.fields[p.field] != v.fields[p.field] {
			p.byValue.Delete(prev)
		}
		p.byValue.ReplaceOrInsert(v)
	}
	for _, x := range p.byLabel {
		x.put(v, prev)
	}
	return prev
}

// remove takes the version of a key out and returns it, nil if there is none.
func (p present) remove(key string) *Version {
	prev, _ := p.byKey.Delete(&Version{Key: key})
	if prev == nil {
		return nil
	}
	if p.byValue != nil {
		p.byValue.Delete(prev)
	}
	for _, x := range p.byLabel {
		x.remove(prev)
	}
	return prev
}

// get returns the version of a key, nil if there is none.
func (p present) get(key string) *Version {
	v, _ := p.byKey.Get(&Version{Key: key})
	return v
}

// ascend calls yield for each version whose key begins with prefix and is
// greater than after, in order, until yield returns false. only, if not nil, is
// the value that the kind's WatchField has in those that are wanted; without
// such a field it picks nothing out.
func (p present) ascend(only *string, prefix, after string, yield func(*Version) bool) {
	from := &Version{Key: prefix}
	switch {
	case strings.HasPrefix(after, prefix):
		from.Key = after + "\x00"
	case after > prefix: // and so beyond all that are looked for
		return
	}
	if only == nil || p.byValue == nil {
		// To compare keys would take longer than all the rest: they are all over
		// the memory.
		end := p.from(beyond(prefix))
		p.byKey.AscendGreaterOrEqual(from, func(v *Version) bool { return v != end && yield(v) })
		return
	}
	from.fields = make([]string, p.field+1)
	from.fields[p.field] = *only
	p.byValue.AscendGreaterOrEqual(from, func(v *Version) bool {
		return v.fields[p.field] == *only && strings.HasPrefix(v.Key, prefix) && yield(v)
	})
}

// from returns the first version whose key is not less than another; nil if there
// is none, or if that is "".
func (p present) from(key string) (found *Version) {
	if key == "" {
		return nil
	}
	p.byKey.AscendGreaterOrEqual(&Version{Key: key}, func(v *Version) bool {
		found = v
		return false
	})
	return found
}

// beyond returns the least key that is greater than all that begin with prefix; ""
// if there is none.
func beyond(prefix string) string {
	end := []byte(prefix)
	for len(end) > 0 {
		last := len(end) - 1
		if end[last]++; end[last] != 0 {
			return string(end)
		}
		end = end[:last]
	}
	return ""
}
