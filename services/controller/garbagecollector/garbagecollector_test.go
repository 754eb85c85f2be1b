package garbagecollector_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/garbagecollector"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(garbagecollector.New(c.Deps, c.Inventory)))
	return c
}

func configMap(name string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for _, o := range owners {
		block := true
		cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: &block,
		})
	}
	return cm
}

// names waits until exactly these ConfigMaps are left.
func names(c *controllertest.Cluster, what string, want ...string) []*corev1.ConfigMap {
	return controllertest.Await(c, what, func(all []*corev1.ConfigMap) bool {
		if len(all) != len(want) {
			return false
		}
		for i, cm := range all {
			if cm.Name != want[i] {
				return false
			}
		}
		return true
	})
}

// Each test starts with a chain and a shared dependent:
//
//	a ── b ── c
//	a, x ── shared
func chain(c *controllertest.Cluster) (a, x *corev1.ConfigMap) {
	a, x = configMap("a"), configMap("x")
	c.Apply(a, x)
	b := configMap("b", a)
	c.Apply(b)
	c.Apply(configMap("c", b), configMap("shared", a, x))
	return a, x
}

func TestBackground(t *testing.T) {
	c := start(t)
	a, x := chain(c)
	c.Remove(a, metav1.DeletePropagationBackground)
	left := names(c, "b and c gone", "shared", "x")
	controllertest.Await(c, "shared without its dead owner", func(all []*corev1.ConfigMap) bool {
		return len(all[0].OwnerReferences) == 1 && all[0].OwnerReferences[0].UID == x.UID
	})
	if left[0].Name != "shared" {
		t.Fatalf("left: %v", left)
	}
	c.Remove(x, metav1.DeletePropagationBackground)
	names(c, "nothing left")
}

func TestForeground(t *testing.T) {
	c := start(t)
	a, _ := chain(c)
	held := configMap("held", a)
	held.Finalizers = []string{"example.com/hold"}
	c.Apply(held)
	c.Remove(a, metav1.DeletePropagationForeground)
	names(c, "the owner waits for the dependent that is held", "a", "held", "shared", "x")
	controllertest.Change(c, held, "", func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	names(c, "the owner gone", "shared", "x")
}

func TestOrphan(t *testing.T) {
	c := start(t)
	a, _ := chain(c)
	c.Remove(a, metav1.DeletePropagationOrphan)
	left := names(c, "only the owner gone", "b", "c", "shared", "x")
	if refs := left[0].OwnerReferences; len(refs) != 0 {
		t.Errorf("b still has the owners %v", refs)
	}
}

func TestAnotherUIDIsAnotherOwner(t *testing.T) {
	c := start(t)
	a := configMap("a")
	c.Apply(a)
	former := *a
	former.UID = types.UID("00000000-0000-0000-0000-000000000001")
	c.Apply(configMap("late", &former))
	names(c, "what belonged to the former a gone", "a")
}

// TestDependents starts with an owner and one dependent, and deletes the owner
// in a way: what is left?
func TestDependents(t *testing.T) {
	const background, foreground, orphan = metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan
	held := func(d *corev1.ConfigMap) { d.Finalizers = []string{"example.com/hold"} }
	for name, tt := range map[string]struct {
		way    metav1.DeletionPropagation
		change func(*corev1.ConfigMap) // of the dependent
		want   []string
	}{
		"by default they go":                             {"", func(*corev1.ConfigMap) {}, nil},
		"in background the owner does not wait":          {background, held, []string{"dependent"}},
		"in foreground it waits for those that block it": {foreground, held, []string{"dependent", "owner"}},
		"in foreground it does not wait for others": {foreground, func(d *corev1.ConfigMap) {
			held(d)
			no := false
			d.OwnerReferences[0].BlockOwnerDeletion = &no
		}, []string{"dependent"}},
		"as an orphan it stays": {orphan, func(*corev1.ConfigMap) {}, []string{"dependent"}},
		"an owner of another kind is another owner, which is not there": {"", func(d *corev1.ConfigMap) { d.OwnerReferences[0].Kind = "Secret" }, nil},
		"an owner of an unknown kind may be there": {"", func(d *corev1.ConfigMap) {
			d.OwnerReferences[0].APIVersion, d.OwnerReferences[0].Kind = "example.com/v1", "Thing"
		}, []string{"dependent"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			owner := configMap("owner")
			c.Apply(owner)
			dependent := configMap("dependent", owner)
			tt.change(dependent)
			c.Apply(dependent)
			c.Remove(owner, tt.way)
			names(c, "what is left", tt.want...)
		})
	}
}

// TestOwnersOfOtherScopes has objects of a namespace that a Node owns, and one
// whose owner would be in another namespace, which cannot be.
func TestOwnersOfOtherScopes(t *testing.T) {
	c := start(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	elsewhere := configMap("owner")
	elsewhere.Namespace = "kube-system"
	c.Apply(node, elsewhere)
	ofNode, stray := configMap("of-node"), configMap("stray", elsewhere)
	ofNode.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: node.UID}}
	c.Apply(ofNode, stray)
	names(c, "the one whose owner is not in its namespace gone", "of-node", "owner")
	c.Remove(node, "")
	names(c, "the node's gone with it", "owner")
}

// TestCircles has owners that wait for each other.
func TestCircles(t *testing.T) {
	for name, deleted := range map[string][]int{"one is deleted": {0}, "two are": {0, 2}, "all are": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			all := []*corev1.ConfigMap{configMap("a"), configMap("b"), configMap("c")}
			c.Apply(all[0], all[1], all[2])
			for i, cm := range all {
				refs := configMap("", all[(i+2)%3]).OwnerReferences
				controllertest.Change(c, cm, "", func(cm *corev1.ConfigMap) { cm.OwnerReferences = refs })
			}
			for _, i := range deleted {
				err := c.Client.Delete(t.Context(), all[i], client.DeleteOptions{Propagation: metav1.DeletePropagationForeground})
				if err != nil && !apierrors.IsNotFound(err) { // another's deletion may have been faster
					t.Fatal(err)
				}
			}
			names(c, "nothing left")
		})
	}
}
