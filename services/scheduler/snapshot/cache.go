// Package snapshot keeps what the scheduler knows of nodes and the pods on
// them, and hands out consistent views of it.
//
// The Cache is fed by the informers, and by the scheduler itself: a pod that
// has been given a node is *assumed* there at once, so that the next decision
// reckons with it, and confirmed when the informer shows it bound. A Snapshot
// is one view. Bringing it up to date costs as much as has changed: nodes are
// kept in the order of their last change, and a NodeInfo is copied only when it
// changes after a Snapshot has taken it.
package snapshot

import (
	"container/list"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cache is the scheduler's knowledge of nodes and placed pods. It is safe for
// concurrent use.
type Cache struct {
	expiry time.Duration
	log    *slog.Logger

	infos PodInfos

	mu    sync.Mutex // guards everything below
	nodes map[string]*nodeItem
	// byChange holds the nodeItems, the last changed first.
	byChange   *list.List
	pods       map[types.UID]*podState
	generation uint64
	// structure rises when nodes come or go or their images change.
	structure uint64
	// images counts the nodes that have an image, by name.
	images map[string]int
	// places are the free ones of nodes, below those that never were taken.
	places []int
	// timer expires assumed pods; it is armed only while some are unconfirmed.
	timer *time.Timer
}

type nodeItem struct {
	info *NodeInfo
	// taken says that a Snapshot holds info, which must not change any more.
	taken bool
	place *list.Element
}

type podState struct {
	info    *PodInfo
	node    string
	assumed bool
	// deadline is set once the assumed pod's binding is stored.
	deadline time.Time
}

// NewCache returns an empty Cache. An assumed pod whose stored binding is not
// confirmed by the informer within expiry is forgotten.
func NewCache(expiry time.Duration, log *slog.Logger) *Cache {
	return &Cache{
		expiry: expiry, log: log,
		nodes: make(map[string]*nodeItem), byChange: list.New(),
		pods: make(map[types.UID]*podState), images: make(map[string]int),
	}
}

// SetNode adds a node or takes its new version over.
func (c *Cache) SetNode(node *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.nodes[node.Name]
	item := c.change(node.Name)
	before, fresh := item.info.Images, item.info.Node == nil
	item.info.setNode(node)
	if fresh || !known || !maps.Equal(before, item.info.Images) {
		c.structure++
		c.countImages(before, -1)
		c.countImages(item.info.Images, 1)
	}
}

// RemoveNode removes a node. Pods that are still on it are kept until their
// own removal is seen.
func (c *Cache) RemoveNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.nodes[name]; !ok {
		return
	}
	item := c.change(name)
	c.countImages(item.info.Images, -1)
	item.info.Node, item.info.Images, item.info.Allocatable = nil, nil, Resources{}
	c.structure++
	c.dropIfEmpty(name, item)
}

// SetPod takes a placed pod's version, as the informer shows it, over. It
// confirms an assumed pod, and corrects one that went elsewhere.
func (c *Cache) SetPod(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, known := c.pods[pod.UID]
	if !known {
		c.attach(&podState{info: c.infos.Of(pod), node: pod.Spec.NodeName})
		return
	}
	info := state.info.Renewed(pod)
	c.detach(state)
	c.attach(&podState{info: info, node: pod.Spec.NodeName})
}

// RemovePod removes a pod, if it is there.
func (c *Cache) RemovePod(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state, ok := c.pods[uid]; ok {
		c.detach(state)
	}
}

// Assume places a pod on a node ahead of its binding.
func (c *Cache) Assume(p *PodInfo, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.pods[p.Pod.UID]; ok {
		return fmt.Errorf("assume pod %s on node %s: it is already on node %s", p.Key(), node, have.node)
	}
	c.attach(&podState{info: p, node: node, assumed: true})
	return nil
}

// IsAssumed says whether the pod is assumed and not yet confirmed.
func (c *Cache) IsAssumed(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ok := c.pods[uid]
	return ok && state.assumed
}

// Forget takes an assumed pod back. A pod that the informer has shown stays.
func (c *Cache) Forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state, ok := c.pods[uid]; ok && state.assumed {
		c.detach(state)
	}
}

// Bound says that an assumed pod's binding is stored: from now on the informer
// has to show it within the expiry time.
func (c *Cache) Bound(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ok := c.pods[uid]
	if !ok || !state.assumed {
		return
	}
	state.deadline = time.Now().Add(c.expiry)
	if c.timer == nil {
		c.timer = time.AfterFunc(c.expiry, c.expire)
	}
}

// expire forgets overdue pods and waits for the next one due.
func (c *Cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	now, next := time.Now(), time.Time{}
	for _, state := range c.pods {
		switch {
		case !state.assumed || state.deadline.IsZero():
		case !now.Before(state.deadline):
			c.log.Warn("bound pod was never seen on its node, forgotten", "pod", state.info.Key(), "node", state.node)
			c.detach(state)
		case next.IsZero() || state.deadline.Before(next):
			next = state.deadline
		}
	}
	if !next.IsZero() {
		c.timer = time.AfterFunc(next.Sub(now), c.expire)
	}
}

// attach and detach keep a pod and its node's sums together. c.mu is held.
func (c *Cache) attach(state *podState) {
	c.pods[state.info.Pod.UID] = state
	c.change(state.node).info.AddPod(state.info)
}

func (c *Cache) detach(state *podState) {
	delete(c.pods, state.info.Pod.UID)
	item := c.change(state.node)
	item.info.RemovePod(state.info.Pod.UID)
	c.dropIfEmpty(state.node, item)
}

// change returns a node's item ready to be changed, made if need be: copied if
// a Snapshot holds it, moved to the front, with a new generation. c.mu is held.
func (c *Cache) change(name string) *nodeItem {
	item, ok := c.nodes[name]
	switch {
	case !ok:
		item = &nodeItem{info: &NodeInfo{place: c.freePlace()}}
		item.place = c.byChange.PushFront(item)
		c.nodes[name] = item
	case item.taken:
		item.info, item.taken = item.info.Clone(), false
		c.byChange.MoveToFront(item.place)
	default:
		c.byChange.MoveToFront(item.place)
	}
	c.generation++
	item.info.Generation = c.generation
	return item
}

func (c *Cache) dropIfEmpty(name string, item *nodeItem) {
	if item.info.Node == nil && len(item.info.Pods) == 0 {
		c.byChange.Remove(item.place)
		delete(c.nodes, name)
		c.places = append(c.places, item.info.place)
	}
}

// freePlace returns a place that no node has. c.mu is held.
func (c *Cache) freePlace() int {
	last := len(c.places) - 1
	if last < 0 {
		return len(c.nodes)
	}
	place := c.places[last]
	c.places = c.places[:last]
	return place
}

func (c *Cache) countImages(images map[string]int64, by int) {
	for name := range images {
		if c.images[name] += by; c.images[name] == 0 {
			delete(c.images, name)
		}
	}
}
