package selection

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// table is the selectors of one namespace, and the names of what each selects.
//
//	selectors   shop   app=web,part-of=shop      anchored at app=web
//	            all    part-of=shop              anchored at part-of=shop
//	            rest   tier!=front               loose
//	an object   app=web,part-of=shop,rev=7       is held against shop, all and rest
type table struct {
	byName map[string]*entry
	// anchored are the entries by the labels that they need: an object without
	// such a label need not be held against them.
	anchored map[label]map[*entry]struct{}
	// loose are those that need no label of a known value.
	loose map[*entry]struct{}
}

type label struct{ key, value string }

// entry is one selector.
type entry struct {
	name     string
	selector labels.Selector
	// text is the selector's, by which selectors are compared.
	text string
	// anchors are labels of which a selected object has one; none if the entry
	// is loose.
	anchors []label
	// members are the names of the objects that it selects.
	members map[string]struct{}
}

func newTable() *table {
	return &table{byName: make(map[string]*entry), anchored: make(map[label]map[*entry]struct{}), loose: make(map[*entry]struct{})}
}

// put adds a selector that has no members yet.
func (t *table) put(name string, selector labels.Selector) *entry {
	t.drop(name)
	e := &entry{name: name, selector: selector, text: selector.String(), anchors: t.anchorsFor(selector), members: make(map[string]struct{})}
	t.byName[name] = e
	if len(e.anchors) == 0 {
		t.loose[e] = struct{}{}
	}
	for _, at := range e.anchors {
		if t.anchored[at] == nil {
			t.anchored[at] = make(map[*entry]struct{})
		}
		t.anchored[at][e] = struct{}{}
	}
	return e
}

func (t *table) drop(name string) {
	e, ok := t.byName[name]
	if !ok {
		return
	}
	delete(t.byName, name)
	delete(t.loose, e)
	for _, at := range e.anchors {
		delete(t.anchored[at], e)
		if len(t.anchored[at]) == 0 {
			delete(t.anchored, at)
		}
	}
}

// anchorsFor returns the labels of that requirement of a selector which the
// fewest others are anchored at, so that what all selectors of a namespace ask
// for, as part-of=shop above, tells few of them apart and is rarely chosen.
func (t *table) anchorsFor(selector labels.Selector) []label {
	requirements, _ := selector.Requirements()
	var best []label
	fewest := 0
	for _, r := range requirements {
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
		default:
			continue
		}
		var at []label
		others := 0
		for _, value := range r.ValuesUnsorted() {
			at = append(at, label{r.Key(), value})
			others += len(t.anchored[label{r.Key(), value}])
		}
		if best == nil || others < fewest {
			best, fewest = at, others
		}
	}
	return best
}

// selecting calls yield for every entry whose selector matches a set of labels.
func (t *table) selecting(set labels.Set, yield func(*entry)) {
	for e := range t.loose {
		if e.selector.Matches(set) {
			yield(e)
		}
	}
	for key, value := range set {
		for e := range t.anchored[label{key, value}] {
			if e.selector.Matches(set) {
				yield(e)
			}
		}
	}
}
