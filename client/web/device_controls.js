/** The choice of microphone, loudspeaker and echo cancellation. */

import { listDevices } from './sound.js';

export class DeviceControls {
  /**
   * @param {{microphone: HTMLSelectElement, loudspeaker: HTMLSelectElement, echo: HTMLInputElement,
   *   loudspeakerField: HTMLElement}} elements
   * @param {() => void} onChoice called when the user has chosen another
   */
  constructor(elements, onChoice) {
    Object.assign(this, elements);
    for (const control of [this.microphone, this.loudspeaker, this.echo]) {
      control.addEventListener('change', onChoice);
    }
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.show());
    void this.show();
  }

  /** @returns {import('./sound.js').DeviceChoice} */
  get chosen() {
    return {
      microphone: this.microphone.value,
      loudspeaker: this.loudspeaker.value,
      echoCancellation: this.echo.checked,
    };
  }

  /** Fills the lists; names are known once the user has allowed the microphone. */
  async show() {
    const { microphones, loudspeakers } = await listDevices();
    this.loudspeakerField.hidden = !loudspeakers.length;
    fill(this.microphone, microphones);
    fill(this.loudspeaker, loudspeakers);
  }
}

/** Lists devices behind the default one, and keeps the chosen one if it is still there. */
function fill(select, devices) {
  const chosen = select.value;
  const named = devices.filter(({ deviceId }) => deviceId !== 'default');
  const options = named.map(({ label, deviceId }) => new Option(label, deviceId));
  select.replaceChildren(new Option('Default', ''), ...options);
  select.value = named.some(({ deviceId }) => deviceId === chosen) ? chosen : '';
}
