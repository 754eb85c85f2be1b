package runner

import (
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Input is an informer that a controller follows.
type Input[T kinds.Object] struct {
	// Keys returns the keys that an object concerns. After an update, both the
	// old and the new object are asked.
	Keys func(obj T) []string
	// Changed says whether an update matters; nil: every one does.
	Changed func(old, obj T) bool
}

// Watch declares an input. It must be called before the informers start.
func Watch[T kinds.Object](c *Controller, informer *client.Informer[T], in Input[T]) {
	informer.AddHandler(client.Handler[T]{
		OnAdd: func(obj T) { c.Enqueue(in.Keys(obj)...) },
		OnUpdate: func(old, obj T) {
			if in.Changed == nil || in.Changed(old, obj) {
				c.Enqueue(in.Keys(old)...)
				c.Enqueue(in.Keys(obj)...)
			}
		},
		OnDelete: func(obj T) { c.Enqueue(in.Keys(obj)...) },
	})
}

// Self is the Keys function of the kind that the keys name.
func Self[T kinds.Object](obj T) []string {
	return []string{cache.MetaObjectToName(obj).String()}
}

// Primary declares the informer whose objects the keys name.
func Primary[T kinds.Object](c *Controller, informer *client.Informer[T]) {
	Watch(c, informer, Input[T]{Keys: Self[T]})
}
