// The search runs in a worker, which browsers refuse to pages that are opened from the disk. There a hidden frame stands
// in for it. The theme takes a file of this name instead of one from another server.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const script = this.frame.contentDocument.createElement("script")
      script.src = new URL(address, document.baseURI)
      this.ready = new Promise((resolve) => { script.onload = resolve })
      this.frame.contentWindow.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      this.frame.contentDocument.body.append(script)
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
