package cache

import (
	"slices"
	"sort"
)

// labelSet is an object's labels: keys in order, each followed by its value. A
// map would take several times the memory.
type labelSet []string

func newLabelSet(labels map[string]string) labelSet {
	if len(labels) == 0 {
		return nil
	}
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	set := make(labelSet, 0, 2*len(keys))
	for _, key := range keys {
		set = append(set, key, labels[key])
	}
	return set
}

// Has implements labels.Labels.
func (s labelSet) Has(key string) bool {
	_, ok := s.Lookup(key)
	return ok
}

// Get implements labels.Labels.
func (s labelSet) Get(key string) string {
	value, _ := s.Lookup(key)
	return value
}

// Lookup implements labels.Labels.
func (s labelSet) Lookup(key string) (value string, ok bool) {
	i := sort.Search(len(s)/2, func(i int) bool { return s[2*i] >= key })
	if 2*i < len(s) && s[2*i] == key {
		return s[2*i+1], true
	}
	return "", false
}
