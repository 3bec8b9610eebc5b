/** Something with an end. Everything disposable is owned by exactly one object. */
export interface IDisposable {
  dispose(): unknown;
}

/** An owner: whatever it registers ends with it, the last one first. */
export abstract class Disposable implements IDisposable {
  private readonly owned: IDisposable[] = [];
  private disposed = false;

  protected register<T extends IDisposable>(item: T): T {
    if (this.disposed) {
      item.dispose();
    } else {
      this.owned.push(item);
    }
    return item;
  }

  protected get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    while (this.owned.length) {
      this.owned.pop()?.dispose();
    }
  }
}
