package model_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	namespace = "default"
	valueKey  = "value"
	colorKey  = "color"
)

func configMaps() *storev1.Resource { return &storev1.Resource{Version: "v1", Resource: "configmaps"} }

func configMap(name, color, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{colorKey: color}},
		Data:       map[string]string{valueKey: value},
	}
}

// write carries out one writer's plan. Every value is written once only, so
// that it says which write it came from.
func (w *world) write(writer, operations int) {
	rnd := w.random("writer", writer)
	for i := range operations {
		name := fmt.Sprintf("n%d", rnd.IntN(names))
		color := []string{"red", "green"}[rnd.IntN(2)]
		cm := configMap(name, color, fmt.Sprintf("%d.%d", writer, i))
		w.operate(w.node(rnd), rnd, writer, cm)
		if rnd.IntN(10) == 0 {
			w.disturb(rnd)
		}
	}
}

func (w *world) operate(n *node, rnd *rand.Rand, writer int, cm *corev1.ConfigMap) {
	in := input{name: cm.Name, value: cm.Data[valueKey]}
	var call func() (string, error)
	switch rnd.IntN(10) {
	case 0, 1, 2:
		in.verb, call = create, func() (string, error) { return "", n.client.Create(n.ctx, cm) }
	case 3, 4:
		in.verb, call = update, func() (string, error) { return "", n.client.Update(n.ctx, cm) }
	case 5:
		have, err := w.get(n.ctx, n.client, cm.Name, "0")
		if err != nil {
			return
		}
		in.verb, in.from, cm.ResourceVersion = swap, have.Data[valueKey], have.ResourceVersion
		call = func() (string, error) { return "", n.client.Update(n.ctx, cm) }
	case 6:
		in.verb, call = remove, func() (string, error) { return "", n.client.Delete(n.ctx, cm, client.DeleteOptions{}) }
	default:
		in.verb, call = read, func() (string, error) {
			have, err := w.get(n.ctx, n.client, cm.Name, "")
			if err != nil {
				return "", err
			}
			return have.Data[valueKey], nil
		}
	}
	began := w.history.now()
	value, err := call()
	out := output{result: resultOf(err), value: value}
	if out.result == done && in.verb != read && in.verb != remove {
		w.ack(revisionOf(w.t, cm.ResourceVersion))
		w.readBack(n, rnd, cm)
	}
	if out.result == unknown && !excused(err) {
		w.t.Errorf("%s %s: %v", in.verb, in.name, err)
	}
	w.history.add(writer, in, out, began)
}

// readBack reads what was written from another Store: at least that version.
func (w *world) readBack(n *node, rnd *rand.Rand, cm *corev1.ConfigMap) {
	other := w.node(rnd)
	if other == n {
		return
	}
	have, err := w.get(other.ctx, other.client, cm.Name, cm.ResourceVersion)
	if err == nil && revisionOf(w.t, have.ResourceVersion) < revisionOf(w.t, cm.ResourceVersion) {
		w.t.Errorf("a read of %s not older than %s gave %s", cm.Name, cm.ResourceVersion, have.ResourceVersion)
	}
}

func (w *world) get(ctx context.Context, c *client.Client, name, rv string) (*corev1.ConfigMap, error) {
	resp, err := c.Store().Get(ctx, &storev1.GetRequest{Resource: configMaps(), Namespace: namespace, Name: name, ResourceVersion: rv})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	cm := &corev1.ConfigMap{}
	return cm, kinds.Decode(resp.GetObject().GetObject(), cm)
}

// ack notes a revision that somebody has been told of.
func (w *world) ack(revision int64) {
	for {
		have := w.acked.Load()
		if have >= revision || w.acked.CompareAndSwap(have, revision) {
			return
		}
	}
}

// excused says whether an error is one that disturbances may cause.
func excused(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || isEnded(err)
}
